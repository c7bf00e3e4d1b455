import type { LucideIcon } from "lucide-react";
import { useId } from "react";
import type { KeyboardEvent, ReactNode } from "react";

import { cx } from "@/lib/cx";

export interface Choice<T extends string> {
  value: T;
  label: string;
  icon?: LucideIcon | undefined;
  disabled?: boolean | undefined;
}

export interface SegmentedProps<T extends string> {
  /** What is chosen between; read out, not shown. */
  label: string;
  value: T;
  options: readonly Choice<T>[];
  onValue: (value: T) => void;
  /** Icons alone; labels become tooltips. */
  iconsOnly?: boolean | undefined;
  size?: "sm" | "md" | undefined;
}

/** A few short alternatives side by side: a radio group. */
export function Segmented<T extends string>({
  label,
  value,
  options,
  onValue,
  iconsOnly,
  size = "md",
}: SegmentedProps<T>) {
  const name = useId();
  return (
    <div role="radiogroup" aria-label={label} className="inline-flex rounded-md bg-sunken p-0.5">
      {options.map(({ value: own, label: text, icon: Icon, disabled }) => (
        <label
          key={own}
          title={iconsOnly ? text : undefined}
          className={cx(
            "relative inline-flex items-center justify-center gap-1.5 rounded-[5px] font-medium text-muted",
            "has-checked:bg-surface has-checked:text-ink has-checked:shadow-sm",
            "has-focus-visible:outline-2 has-focus-visible:outline-accent",
            size === "sm" ? "h-7 px-2 text-xs" : "h-8 px-3 text-[0.8125rem]",
            disabled === true && "cursor-not-allowed opacity-50",
          )}
        >
          <input
            type="radio"
            name={name}
            value={own}
            checked={own === value}
            disabled={disabled}
            onChange={() => onValue(own)}
            className="absolute inset-0 opacity-0"
            aria-label={text}
          />
          {Icon && <Icon className="size-4" aria-hidden />}
          {!iconsOnly && <span>{text}</span>}
        </label>
      ))}
    </div>
  );
}

export interface RadioCard<T extends string> {
  value: T;
  title: ReactNode;
  /** A line or two under the title. */
  text?: ReactNode;
  /** At the right, such as a figure or a badge. */
  aside?: ReactNode;
  disabled?: boolean | undefined;
}

export interface RadioCardsProps<T extends string> {
  label: string;
  value: T | null;
  options: readonly RadioCard<T>[];
  onValue: (value: T) => void;
  /** Of the grid, such as `sm:grid-cols-2`. */
  className?: string | undefined;
}

/** Alternatives that need a sentence each. */
export function RadioCards<T extends string>({ label, value, options, onValue, className }: RadioCardsProps<T>) {
  const name = useId();
  return (
    <div role="radiogroup" aria-label={label} className={cx("grid gap-2", className)}>
      {options.map((option) => (
        <label
          key={option.value}
          className={cx(
            "relative flex min-w-0 items-start gap-2.5 rounded-md border border-line p-3 hover:border-edge",
            "has-checked:border-accent has-checked:bg-accent-soft has-focus-visible:outline-2 has-focus-visible:outline-accent",
            option.disabled === true && "cursor-not-allowed opacity-60 hover:border-line",
          )}
        >
          <input
            type="radio"
            name={name}
            value={option.value}
            checked={option.value === value}
            disabled={option.disabled}
            onChange={() => onValue(option.value)}
            className="mt-0.5 size-4 shrink-0 accent-accent"
          />
          <span className="min-w-0 flex-1">
            <span className="flex flex-wrap items-baseline justify-between gap-x-3">
              <span className="text-[0.8125rem] font-medium wrap-anywhere">{option.title}</span>
              {option.aside !== undefined && <span className="text-xs text-muted">{option.aside}</span>}
            </span>
            {option.text !== undefined && (
              <span className="mt-0.5 block text-xs text-muted wrap-anywhere">{option.text}</span>
            )}
          </span>
        </label>
      ))}
    </div>
  );
}

export interface Tab<T extends string> {
  value: T;
  label: ReactNode;
}

export interface TabsProps<T extends string> {
  label: string;
  value: T;
  tabs: readonly Tab<T>[];
  onValue: (value: T) => void;
  /** The chosen tab's content. */
  children: ReactNode;
}

/** Several views of one thing, one at a time; arrow keys move between them. */
export function Tabs<T extends string>({ label, value, tabs, onValue, children }: TabsProps<T>) {
  const id = useId();
  const onKey = (event: KeyboardEvent) => {
    const index = tabs.findIndex((tab) => tab.value === value);
    const steps: Record<string, number> = {
      ArrowRight: index + 1,
      ArrowLeft: index - 1,
      Home: 0,
      End: tabs.length - 1,
    };
    const target = steps[event.key];
    const tab = target === undefined ? undefined : tabs[(target + tabs.length) % tabs.length];
    if (!tab) return;
    event.preventDefault();
    onValue(tab.value);
    document.getElementById(`${id}-${tab.value}`)?.focus();
  };
  return (
    <div>
      {/* eslint-disable-next-line jsx-a11y/interactive-supports-focus -- focus goes to the chosen tab (roving tabindex) */}
      <div
        role="tablist"
        aria-label={label}
        onKeyDown={onKey}
        className="flex gap-1 overflow-x-auto border-b border-line"
      >
        {tabs.map((tab) => (
          <button
            key={tab.value}
            type="button"
            role="tab"
            id={`${id}-${tab.value}`}
            aria-selected={tab.value === value}
            aria-controls={`${id}-panel`}
            tabIndex={tab.value === value ? 0 : -1}
            onClick={() => onValue(tab.value)}
            className={cx(
              "-mb-px border-b-2 px-3 py-2 text-[0.8125rem] font-medium whitespace-nowrap -outline-offset-2",
              tab.value === value ? "border-accent text-ink" : "border-transparent text-muted hover:text-ink",
            )}
          >
            {tab.label}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${value}`} className="pt-4">
        {children}
      </div>
    </div>
  );
}
