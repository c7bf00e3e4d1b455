import { useId } from "react";
import type { ReactNode } from "react";

import { cx } from "@/lib/cx";

/** What every control with a label has. */
export interface FieldProps {
  label: ReactNode;
  /** One line under the control. */
  hint?: ReactNode;
  /** What is wrong; shown in place of the hint and read out. */
  error?: string | null | undefined;
  /** A quiet note after the label, such as a default or a button. */
  aside?: ReactNode;
  className?: string | undefined;
}

export interface Wiring {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": true | undefined;
}

/** The look of a text-like control. */
export const CONTROL =
  "h-9 w-full min-w-0 rounded-md border border-edge bg-surface px-3 text-ink aria-invalid:border-bad " +
  "disabled:bg-sunken disabled:text-muted";

/** A label, a control, and a line that is its hint or its error, wired for screen readers. */
export function Field({
  label,
  hint,
  error,
  aside,
  className,
  children,
}: FieldProps & { children: (wiring: Wiring) => ReactNode }) {
  const id = useId();
  const wrong = error !== null && error !== undefined && error !== "";
  const noted = wrong || (hint !== undefined && hint !== null && hint !== "");
  return (
    <div className={cx("min-w-0", className)}>
      <div className="mb-1 flex items-baseline justify-between gap-2">
        <label htmlFor={id} className="text-[0.8125rem] font-medium">
          {label}
        </label>
        {aside !== undefined && <span className="text-xs text-muted">{aside}</span>}
      </div>
      {children({ id, "aria-describedby": noted ? `${id}-note` : undefined, "aria-invalid": wrong || undefined })}
      {noted && (
        <p id={`${id}-note`} className={cx("mt-1 text-xs wrap-anywhere", wrong ? "text-bad" : "text-muted")}>
          {wrong ? error : hint}
        </p>
      )}
    </div>
  );
}
