import { Check, ChevronRight, Copy } from "lucide-react";
import type { LucideIcon } from "lucide-react";
import { Fragment, useState } from "react";
import type { ReactNode } from "react";

import { cx } from "@/lib/cx";
import type { Tone } from "@/lib/tone";

import { Button, IconButton } from "./Button";

const BADGES: Record<Tone, string> = {
  neutral: "bg-sunken text-muted",
  good: "bg-good-soft text-good",
  warn: "bg-warn-soft text-warn",
  bad: "bg-bad-soft text-bad",
  info: "bg-info-soft text-info",
};

/** A word about a state. */
export function Badge({
  tone = "neutral",
  icon: Icon,
  children,
}: {
  tone?: Tone | undefined;
  icon?: LucideIcon | undefined;
  children: ReactNode;
}) {
  return (
    <span
      className={cx(
        "inline-flex items-center gap-1 rounded px-1.5 py-0.5 text-xs font-medium whitespace-nowrap",
        BADGES[tone],
      )}
    >
      {Icon && <Icon className="size-3.5" aria-hidden />}
      {children}
    </span>
  );
}

/** How far something is; without a `value` it is under way and nobody knows how far. */
export function Progress({
  value,
  label,
  tone = "neutral",
}: {
  value: number | null;
  label: string;
  tone?: Tone | undefined;
}) {
  const share = value === null ? null : Math.min(1, Math.max(0, value));
  const fill = tone === "bad" ? "bg-bad" : tone === "warn" ? "bg-warn" : tone === "good" ? "bg-good" : "bg-accent";
  return (
    <div
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={share === null ? undefined : Math.round(share * 100)}
      className="h-1.5 w-full overflow-hidden rounded-full bg-line"
    >
      <div
        className={cx("h-full rounded-full transition-[width]", fill, share === null && "w-1/3 animate-pulse")}
        style={share === null ? undefined : { width: `${share * 100}%` }}
      />
    </div>
  );
}

/** A figure with its name. */
export function Stat({
  label,
  value,
  note,
  tone,
}: {
  label: ReactNode;
  value: ReactNode;
  note?: ReactNode;
  tone?: Tone | undefined;
}) {
  const colour = tone === "good" ? "text-good" : tone === "warn" ? "text-warn" : tone === "bad" ? "text-bad" : "";
  return (
    <div className="min-w-0">
      <dt className="text-xs text-muted">{label}</dt>
      <dd className={cx("mt-0.5 text-base font-semibold wrap-anywhere", colour)}>{value}</dd>
      {note !== undefined && note !== null && <dd className="text-xs text-muted wrap-anywhere">{note}</dd>}
    </div>
  );
}

/** Figures side by side; `Stat`s inside. */
export function Stats({ children, className }: { children: ReactNode; className?: string | undefined }) {
  return <dl className={cx("grid grid-cols-2 gap-x-4 gap-y-3 sm:grid-cols-4", className)}>{children}</dl>;
}

/** Puts `text` into the clipboard and says so. */
export function CopyButton({
  text,
  label = "Copy",
  iconOnly,
}: {
  text: string;
  label?: string | undefined;
  iconOnly?: boolean | undefined;
}) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await copyText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1600);
  };
  const said = copied ? "Copied" : label;
  return (
    <>
      {iconOnly ? (
        <IconButton icon={copied ? Check : Copy} label={said} size="sm" onClick={() => void copy()} />
      ) : (
        <Button icon={copied ? Check : Copy} size="sm" onClick={() => void copy()}>
          {said}
        </Button>
      )}
      <span role="status" className="sr-only">
        {copied ? "Copied" : ""}
      </span>
    </>
  );
}

/** Browsers offer the clipboard on https and localhost only; elsewhere a selection does it. */
async function copyText(text: string): Promise<void> {
  if (window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "sr-only";
  document.body.append(area);
  area.select();
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- the only way over plain http from another machine
  document.execCommand("copy");
  area.remove();
}

/** Something that is folded away until wanted. */
export function Disclosure({
  title,
  children,
  open,
  aside,
}: {
  title: ReactNode;
  children: ReactNode;
  open?: boolean | undefined;
  aside?: ReactNode;
}) {
  return (
    <details className="group/d min-w-0" open={open}>
      <summary className="flex list-none items-center gap-1.5 rounded py-1 text-[0.8125rem] font-medium hover:text-accent">
        <ChevronRight
          className="size-4 shrink-0 text-muted transition-transform group-open/d:rotate-90"
          aria-hidden
        />
        <span className="flex min-w-0 flex-1 flex-wrap items-baseline justify-between gap-x-3">
          <span className="min-w-0">{title}</span>
          {aside !== undefined && <span className="text-xs font-normal text-muted">{aside}</span>}
        </span>
      </summary>
      <div className="pt-2 pb-1">{children}</div>
    </details>
  );
}

/** Code or a command to copy. */
export function CodeBlock({ text, label, wrap }: { text: string; label: string; wrap?: boolean | undefined }) {
  return (
    <div className="flex min-w-0 items-start rounded-md border border-line bg-sunken">
      <pre
        tabIndex={0}
        role="region"
        aria-label={label}
        className={cx(
          "max-h-72 min-w-0 flex-1 overflow-auto p-3 font-mono text-xs",
          wrap && "whitespace-pre-wrap wrap-anywhere",
        )}
      >
        {text}
      </pre>
      <div className="shrink-0 p-1">
        <CopyButton text={text} label={`Copy ${label}`} iconOnly />
      </div>
    </div>
  );
}

/** Text in which `backticks` stand for code, as settings' help has them. */
export function Prose({ text }: { text: string }) {
  return text.split("`").map((part, at) =>
    at % 2 === 1 ? (
      <code key={at} className="font-mono text-[0.95em]">
        {part}
      </code>
    ) : (
      <Fragment key={at}>{part}</Fragment>
    ),
  );
}
