import { ChevronDown } from "lucide-react";
import { useId } from "react";
import type { ComponentProps, ReactNode } from "react";

import { cx } from "@/lib/cx";
import { parseNumber } from "@/lib/numbers";
import type { NumberRules } from "@/lib/numbers";

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

interface Wiring {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": true | undefined;
}

/** The look of a text-like control. */
const CONTROL =
  "h-9 w-full min-w-0 rounded-md border border-edge bg-surface px-3 text-ink aria-invalid:border-bad " +
  "disabled:bg-sunken disabled:text-muted";

/** A label, a control, and a line that is its hint or its error, wired for screen readers. */
function Field({
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

type Native<Tag extends "input" | "textarea" | "select"> = Omit<
  ComponentProps<Tag>,
  "value" | "onChange" | "id" | "className" | "children"
>;

/** The props of a `Field`, and those of the control in it. */
function apart<Props extends FieldProps>({ label, hint, error, aside, className, ...own }: Props) {
  return [{ label, hint, error, aside, className }, own] as const;
}

const TYPED = { type: "text", spellCheck: false, autoComplete: "off" } as const;
const MONO = "font-mono text-[0.8125rem]";

interface TextProps extends FieldProps {
  value: string;
  onValue: (value: string) => void;
  mono?: boolean | undefined;
}

export function TextField(props: TextProps & Native<"input">) {
  const [frame, { value, onValue, mono, ...rest }] = apart(props);
  return (
    <Field {...frame}>
      {(wiring) => (
        <input
          {...TYPED}
          {...rest}
          {...wiring}
          value={value}
          onChange={(event) => onValue(event.target.value)}
          className={cx(CONTROL, mono && MONO)}
        />
      )}
    </Field>
  );
}

export interface NumberFieldProps extends FieldProps, Omit<Native<"input">, "type" | "min" | "max"> {
  /** What is typed, kept as it is: empty and half-typed are states like any other. */
  text: string;
  onText: (text: string) => void;
  rules?: NumberRules | undefined;
  /** Shown at the right inside the field. */
  unit?: string | undefined;
}

/** A number that is typed freely: what it means is found by `parseNumber(text, rules)`, here for the message only. */
export function NumberField(props: NumberFieldProps) {
  const [frame, { text, onText, rules, unit, ...rest }] = apart(props);
  const parsed = parseNumber(text, rules);
  return (
    <Field {...frame} error={frame.error ?? (parsed.kind === "bad" ? parsed.message : null)}>
      {(wiring) => (
        <span className="relative block">
          <input
            {...TYPED}
            inputMode="decimal"
            {...rest}
            {...wiring}
            value={text}
            onChange={(event) => onText(event.target.value)}
            className={cx(CONTROL, unit !== undefined && "pr-14")}
          />
          {unit !== undefined && (
            <span className="pointer-events-none absolute inset-y-0 right-3 flex items-center text-xs text-muted">
              {unit}
            </span>
          )}
        </span>
      )}
    </Field>
  );
}

export function TextArea(props: TextProps & Native<"textarea">) {
  const [frame, { value, onValue, mono, rows = 3, ...rest }] = apart(props);
  return (
    <Field {...frame}>
      {(wiring) => (
        <textarea
          {...rest}
          {...wiring}
          rows={rows}
          value={value}
          onChange={(event) => onValue(event.target.value)}
          className={cx(CONTROL, "h-auto resize-y py-2", mono && MONO)}
        />
      )}
    </Field>
  );
}

interface Option<T extends string> {
  value: T;
  label: string;
  disabled?: boolean | undefined;
}

export interface SelectProps<T extends string> extends FieldProps, Native<"select"> {
  value: T;
  options: readonly Option<T>[];
  onValue: (value: T) => void;
}

export function Select<T extends string>(props: SelectProps<T>) {
  const [frame, { value, options, onValue, ...rest }] = apart(props);
  return (
    <Field {...frame}>
      {(wiring) => (
        <span className="relative block">
          <select
            {...rest}
            {...wiring}
            value={value}
            onChange={(event) => {
              const chosen = options.find((option) => option.value === event.target.value);
              if (chosen) onValue(chosen.value);
            }}
            className={cx(CONTROL, "appearance-none pr-8")}
          >
            {options.map((option) => (
              <option key={option.value} value={option.value} disabled={option.disabled}>
                {option.label}
              </option>
            ))}
          </select>
          <ChevronDown className="pointer-events-none absolute top-2.5 right-2.5 size-4 text-muted" aria-hidden />
        </span>
      )}
    </Field>
  );
}

export interface ToggleProps {
  label: ReactNode;
  hint?: ReactNode;
  checked: boolean;
  onValue: (checked: boolean) => void;
  disabled?: boolean | undefined;
  className?: string | undefined;
}

/** A small control with its label, and a hint, at its right. */
function Beside({
  label,
  hint,
  strong,
  className,
  children,
}: Pick<ToggleProps, "label" | "hint" | "className"> & {
  strong?: boolean;
  children: (wiring: Omit<Wiring, "aria-invalid">) => ReactNode;
}) {
  const id = useId();
  const noted = hint !== undefined && hint !== null;
  return (
    <div className={cx("flex min-w-0 items-start", strong ? "gap-3" : "gap-2", className)}>
      {children({ id, "aria-describedby": noted ? `${id}-note` : undefined })}
      <div className="min-w-0">
        <label htmlFor={id} className={cx("text-[0.8125rem]", strong && "font-medium")}>
          {label}
        </label>
        {noted && (
          <p id={`${id}-note`} className="text-xs text-muted">
            {hint}
          </p>
        )}
      </div>
    </div>
  );
}

/** On or off, at once. */
export function Switch({ checked, onValue, disabled, ...frame }: ToggleProps) {
  return (
    <Beside {...frame} strong>
      {(wiring) => (
        <button
          type="button"
          role="switch"
          {...wiring}
          aria-checked={checked}
          disabled={disabled}
          onClick={() => onValue(!checked)}
          className={cx(
            "relative mt-0.5 h-5 w-9 shrink-0 rounded-full border transition-colors disabled:opacity-50",
            checked ? "border-accent bg-accent" : "border-edge bg-sunken",
          )}
        >
          <span
            aria-hidden
            className={cx(
              "absolute top-[3px] left-[3px] size-3 rounded-full transition-transform",
              checked ? "translate-x-4 bg-on-accent" : "bg-edge",
            )}
          />
        </button>
      )}
    </Beside>
  );
}

/** One of several that may all be chosen. */
export function Checkbox({ checked, onValue, disabled, ...frame }: ToggleProps) {
  return (
    <Beside {...frame}>
      {(wiring) => (
        <input
          type="checkbox"
          {...wiring}
          checked={checked}
          disabled={disabled}
          onChange={(event) => onValue(event.target.checked)}
          className="mt-0.5 size-4 shrink-0 accent-accent"
        />
      )}
    </Beside>
  );
}
