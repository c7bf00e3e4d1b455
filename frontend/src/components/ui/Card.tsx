import { ArrowLeft } from "lucide-react";
import type { LucideIcon } from "lucide-react";
import { useId } from "react";
import type { ReactNode } from "react";
import { Link } from "react-router";

import { cx } from "@/lib/cx";

export interface CardProps {
  title?: ReactNode;
  icon?: LucideIcon | undefined;
  /** One line under the title. */
  description?: ReactNode;
  /** Buttons at the right of the title. */
  actions?: ReactNode;
  children: ReactNode;
  className?: string | undefined;
  /** Without inner padding, for tables and charts that reach the edges. */
  flush?: boolean | undefined;
}

/** A titled part of a page; a landmark when it has a title. */
export function Card({ title, icon: Icon, description, actions, children, className, flush }: CardProps) {
  const id = useId();
  const titled = title !== undefined && title !== null;
  return (
    <section
      aria-labelledby={titled ? id : undefined}
      className={cx("min-w-0 rounded-lg border border-line bg-surface shadow-card", className)}
    >
      {titled && (
        <header
          className={cx(
            "flex flex-wrap items-start justify-between gap-x-4 gap-y-2 px-4 pt-3.5 sm:px-5",
            flush && "pb-3",
          )}
        >
          <div className="min-w-0">
            <h2 id={id} className="flex items-center gap-2 text-[0.9375rem] font-semibold">
              {Icon && <Icon className="size-4 shrink-0 text-muted" aria-hidden />}
              {title}
            </h2>
            {description !== undefined && <p className="mt-0.5 text-[0.8125rem] text-muted">{description}</p>}
          </div>
          {actions !== undefined && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
        </header>
      )}
      <div className={flush ? "" : cx("px-4 pb-4 sm:px-5 sm:pb-5", titled ? "pt-3.5" : "pt-4 sm:pt-5")}>
        {children}
      </div>
    </section>
  );
}

export interface PageHeaderProps {
  title: ReactNode;
  description?: ReactNode;
  actions?: ReactNode;
}

/** Above the title of a page: where it belongs. */
export function BackLink({ to, children }: { to: string; children: ReactNode }) {
  return (
    <Link to={to} className="mb-2 inline-flex items-center gap-1 text-[0.8125rem] text-muted hover:text-ink">
      <ArrowLeft className="size-4" aria-hidden />
      {children}
    </Link>
  );
}

/** The one h1 of a page. */
export function PageHeader({ title, description, actions }: PageHeaderProps) {
  return (
    <header className="mb-5 flex flex-wrap items-end justify-between gap-x-6 gap-y-3">
      <div className="min-w-0">
        <h1 className="text-xl font-semibold tracking-tight wrap-anywhere">{title}</h1>
        {description !== undefined && <p className="mt-0.5 text-muted">{description}</p>}
      </div>
      {actions !== undefined && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
    </header>
  );
}
