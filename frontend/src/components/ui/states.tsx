import { CircleAlert, CircleCheck, Info, LoaderCircle, RotateCw, TriangleAlert } from "lucide-react";
import type { LucideIcon } from "lucide-react";
import type { ReactNode } from "react";

import { asApiError } from "@/api/errors";
import { cx } from "@/lib/cx";
import { sentence } from "@/lib/format";
import type { Tone } from "@/lib/tone";

import { Button } from "./Button";
import { Prose } from "./display";

/** Nothing is here yet: why, and what to do about it. */
export function EmptyState({
  icon: Icon,
  title,
  children,
  actions,
}: {
  icon: LucideIcon;
  title: string;
  children?: ReactNode;
  actions?: ReactNode;
}) {
  return (
    <div className="flex flex-col items-center px-4 py-12 text-center">
      <Icon className="mb-3 size-8 text-muted" strokeWidth={1.5} aria-hidden />
      <p className="font-semibold">{title}</p>
      {children !== undefined && <div className="mt-1 max-w-md text-muted">{children}</div>}
      {actions !== undefined && <div className="mt-4 flex flex-wrap justify-center gap-2">{actions}</div>}
    </div>
  );
}

/** Something is on its way. */
export function Loading({
  label = "Loading…",
  className,
}: {
  label?: string | undefined;
  className?: string | undefined;
}) {
  return (
    <div role="status" className={cx("flex items-center gap-2 text-muted", className)}>
      <LoaderCircle className="size-4 animate-spin" aria-hidden />
      {label}
    </div>
  );
}

/** The shape of what is on its way. */
export function Skeleton({ className }: { className?: string | undefined }) {
  return <div aria-hidden className={cx("animate-pulse rounded-md bg-sunken", className ?? "h-4 w-full")} />;
}

/** Several of them below one another, full width; `label` is read out. */
export function Skeletons({ label, heights, gap = "space-y-5" }: { label: string; heights: string[]; gap?: string }) {
  return (
    <div role="status" aria-label={label} className={gap}>
      {heights.map((height, at) => (
        <Skeleton key={at} className={cx(height, "w-full")} />
      ))}
    </div>
  );
}

const ICONS: Record<Tone, LucideIcon> = {
  neutral: Info,
  info: Info,
  good: CircleCheck,
  warn: TriangleAlert,
  bad: CircleAlert,
};
const NOTES: Record<Tone, string> = {
  neutral: "bg-sunken",
  info: "bg-info-soft",
  good: "bg-good-soft",
  warn: "bg-warn-soft",
  bad: "bg-bad-soft",
};
const MARKS: Record<Tone, string> = {
  neutral: "text-muted",
  info: "text-info",
  good: "text-good",
  warn: "text-warn",
  bad: "text-bad",
};

export interface NoteProps {
  tone?: Tone | undefined;
  title?: ReactNode;
  children?: ReactNode;
  actions?: ReactNode;
  /** Read it out when it appears. */
  live?: boolean | undefined;
}

/** A remark in its own box. */
export function Note({ tone = "info", title, children, actions, live }: NoteProps) {
  const Icon = ICONS[tone];
  return (
    <div
      role={live ? (tone === "bad" ? "alert" : "status") : undefined}
      className={cx("flex gap-2.5 rounded-md p-3 text-[0.8125rem]", NOTES[tone])}
    >
      <Icon className={cx("mt-px size-4 shrink-0", MARKS[tone])} aria-hidden />
      <div className="min-w-0 flex-1 wrap-anywhere">
        {title !== undefined && <p className="font-medium">{title}</p>}
        {children}
        {actions !== undefined && <div className="mt-2 flex flex-wrap gap-2">{actions}</div>}
      </div>
    </div>
  );
}

/** What went wrong, and what to do: any caught error, or an RTK Query `error`. */
export function ErrorNote({ error, onRetry }: { error: unknown; onRetry?: (() => void) | undefined }) {
  const { message, hint } = asApiError(error);
  return (
    <Note
      tone="bad"
      title={<Prose text={sentence(message)} />}
      live
      actions={
        onRetry && (
          <Button size="sm" icon={RotateCw} onClick={onRetry}>
            Try again
          </Button>
        )
      }
    >
      {hint !== "" && (
        <p>
          <Prose text={sentence(hint)} />
        </p>
      )}
    </Note>
  );
}

interface Query<Data> {
  data?: Data | undefined;
  error?: unknown;
  refetch: () => unknown;
}

/** What came of a query: its error with a way to ask again, or its data; until then what `waiting` shows. */
export function Answered<Data>({
  query: { data, error, refetch },
  waiting,
  children,
}: {
  query: Query<Data>;
  waiting: ReactNode;
  children: (data: Data) => ReactNode;
}) {
  if (error !== undefined) return <ErrorNote error={error} onRetry={() => void refetch()} />;
  return data === undefined ? waiting : children(data);
}
