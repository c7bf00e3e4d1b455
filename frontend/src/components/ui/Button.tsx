import { LoaderCircle } from "lucide-react";
import type { LucideIcon } from "lucide-react";
import type { ComponentProps, ReactNode } from "react";
import { Link } from "react-router";

import { cx } from "@/lib/cx";
import { addressOf } from "@/lib/root";

export type ButtonVariant = "primary" | "secondary" | "ghost" | "danger";
export type ButtonSize = "sm" | "md";

const BASE =
  "inline-flex shrink-0 items-center justify-center gap-1.5 rounded-md font-medium whitespace-nowrap select-none " +
  "transition-colors disabled:opacity-50 aria-disabled:opacity-50";
const VARIANTS: Record<ButtonVariant, string> = {
  primary: "bg-accent text-on-accent hover:bg-accent-strong",
  secondary: "border border-edge bg-surface text-ink hover:bg-sunken",
  ghost: "text-ink hover:bg-sunken",
  danger: "border border-bad bg-surface text-bad hover:bg-bad-soft",
};
const SIZES: Record<ButtonSize, string> = { sm: "h-8 px-2.5 text-[0.8125rem]", md: "h-9 px-3.5 text-sm" };

interface Look {
  variant?: ButtonVariant | undefined;
  size?: ButtonSize | undefined;
  icon?: LucideIcon | undefined;
}

export interface ButtonProps extends Omit<ComponentProps<"button">, "children">, Look {
  children: ReactNode;
  /** Work is under way: shows a spinner and cannot be pressed again. */
  busy?: boolean | undefined;
}

export function Button({
  variant = "secondary",
  size = "md",
  icon: Icon,
  busy,
  children,
  className,
  disabled,
  ...rest
}: ButtonProps) {
  return (
    <button
      type="button"
      className={cx(BASE, VARIANTS[variant], SIZES[size], className)}
      disabled={disabled === true || busy === true}
      aria-busy={busy}
      {...rest}
    >
      {busy ? (
        <LoaderCircle className="size-4 animate-spin" aria-hidden />
      ) : (
        Icon && <Icon className="size-4" aria-hidden />
      )}
      {children}
    </button>
  );
}

export interface IconButtonProps extends Omit<ComponentProps<"button">, "children" | "aria-label"> {
  icon: LucideIcon;
  /** What it does, for those who do not see the icon; also its tooltip. */
  label: string;
  variant?: ButtonVariant | undefined;
  size?: ButtonSize | undefined;
  busy?: boolean | undefined;
}

export function IconButton({
  icon,
  label,
  variant = "ghost",
  size = "md",
  busy,
  className,
  disabled,
  ...rest
}: IconButtonProps) {
  const Icon = busy ? LoaderCircle : icon;
  return (
    <button
      type="button"
      aria-label={label}
      title={label}
      className={cx(BASE, VARIANTS[variant], size === "sm" ? "size-8" : "size-9", className)}
      disabled={disabled === true || busy === true}
      aria-busy={busy}
      {...rest}
    >
      <Icon className={cx("size-4", busy && "animate-spin")} aria-hidden />
    </button>
  );
}

export interface LinkButtonProps extends Look {
  to: string;
  children: ReactNode;
  className?: string | undefined;
  /** A file of the server instead of a page: the browser fetches or saves it. */
  download?: boolean | undefined;
  /** A file of the server that the browser shows in a tab of its own. */
  newTab?: boolean | undefined;
}

/** A link that looks like a button: to another page, or to a file. */
export function LinkButton({
  to,
  variant = "secondary",
  size = "md",
  icon: Icon,
  children,
  className,
  download,
  newTab,
}: LinkButtonProps) {
  const look = cx(BASE, VARIANTS[variant], SIZES[size], className);
  const inside = (
    <>
      {Icon && <Icon className="size-4" aria-hidden />}
      {children}
    </>
  );
  if (download || newTab) {
    return (
      <a
        href={to.startsWith("/") ? addressOf(to) : to}
        download={download}
        {...(newTab ? { target: "_blank", rel: "noreferrer" } : {})}
        className={look}
      >
        {inside}
      </a>
    );
  }
  return (
    <Link to={to} className={look}>
      {inside}
    </Link>
  );
}
