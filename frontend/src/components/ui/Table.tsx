import { ArrowDown, ArrowUp } from "lucide-react";
import type { ReactNode } from "react";

import { cx } from "@/lib/cx";

/** A table that scrolls sideways in its own frame where the page is narrow. `label` names it. */
export function Table({
  label,
  children,
  className,
}: {
  label: string;
  children: ReactNode;
  className?: string | undefined;
}) {
  return (
    <div className="relative overflow-x-auto" role="region" aria-label={label} tabIndex={0}>
      <table className={cx("w-full border-collapse text-left text-[0.8125rem]", className)}>{children}</table>
    </div>
  );
}

export interface ThProps {
  children?: ReactNode;
  /** Numbers stand at the right. */
  right?: boolean | undefined;
  /** Makes the header a button that sorts. */
  onSort?: (() => void) | undefined;
  sorted?: "up" | "down" | null | undefined;
  className?: string | undefined;
}

export function Th({ children, right, onSort, sorted, className }: ThProps) {
  const Arrow = sorted === "up" ? ArrowUp : ArrowDown;
  return (
    <th
      scope="col"
      aria-sort={sorted === "up" ? "ascending" : sorted === "down" ? "descending" : undefined}
      className={cx(
        "border-b border-line px-3 py-2 text-xs font-medium whitespace-nowrap text-muted",
        right && "text-right",
        className,
      )}
    >
      {onSort ? (
        <button type="button" onClick={onSort} className="inline-flex items-center gap-1 rounded hover:text-ink">
          {children}
          <Arrow className={cx("size-3", !sorted && "opacity-0")} aria-hidden />
        </button>
      ) : (
        children
      )}
    </th>
  );
}

export function Td({
  children,
  right,
  className,
}: {
  children?: ReactNode;
  right?: boolean | undefined;
  className?: string | undefined;
}) {
  return (
    <td
      className={cx("border-b border-line px-3 py-2 align-top", right && "text-right whitespace-nowrap", className)}
    >
      {children}
    </td>
  );
}
