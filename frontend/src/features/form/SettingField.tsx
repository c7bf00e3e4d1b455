import { RotateCcw } from "lucide-react";
import type { ReactNode } from "react";

import type { SettingView } from "@/api";
import { NumberField, Prose, Select, Switch, TextArea, TextField } from "@/components/ui";

import { isText, rulesOf, shown } from "./draft";
import type { DraftValue, FieldValue } from "./draft";
import { useRunForm, useSetting } from "./form";
import { labelOf } from "./labels";

/** Takes a field back to its default. */
export function Back({ label, onClick }: { label: string; onClick: () => void }) {
  return (
    <button
      type="button"
      aria-label={label}
      title={label}
      onClick={onClick}
      className="-my-1 rounded p-1 align-middle text-muted hover:text-ink"
    >
      <RotateCcw className="size-3.5" aria-hidden />
    </button>
  );
}

export interface SettingControlProps {
  setting: SettingView;
  value: DraftValue;
  problem: string | null;
  onValue: (value: FieldValue) => void;
  label: ReactNode;
  hint: ReactNode;
  /** After the label. */
  aside?: ReactNode;
  unit?: string | undefined;
  placeholder?: string | undefined;
  className?: string | undefined;
  /** Of the input, so that it can be found. */
  name?: string | undefined;
  /** A text of several lines. */
  long?: boolean | undefined;
}

/** The control of a setting, or of a parameter that is described like one, whatever kind it is. */
export function SettingControl({
  setting,
  value,
  problem,
  onValue,
  unit,
  placeholder,
  long,
  ...rest
}: SettingControlProps) {
  const shared = { ...rest, error: problem };
  const text = typeof value === "string" ? value : "";
  switch (setting.kind) {
    case "boolean":
      return (
        <Switch
          label={rest.label}
          hint={rest.hint}
          checked={value === true}
          onValue={onValue}
          className={rest.className}
        />
      );
    case "integer":
    case "number":
      return (
        <NumberField
          {...shared}
          text={text}
          onText={onValue}
          rules={rulesOf(setting)}
          unit={unit}
          placeholder={placeholder ?? (setting.optional ? "default" : undefined)}
        />
      );
    case "list":
      return (
        <TextArea
          {...shared}
          mono
          value={Array.isArray(value) ? value.filter(isText).join("\n") : ""}
          onValue={(lines) => onValue(lines.split("\n"))}
        />
      );
    case "object":
      return <TextField {...shared} value={text} onValue={onValue} placeholder={placeholder ?? "{}"} mono />;
    case "text":
      if (setting.choices.length > 0) {
        const none = setting.optional ? [{ value: "", label: "default" }] : [];
        const options = [...none, ...setting.choices.map((choice) => ({ value: choice, label: choice }))];
        return <Select {...shared} value={text} options={options} onValue={onValue} />;
      }
      if (long) return <TextArea {...shared} value={text} onValue={onValue} />;
      return <TextField {...shared} value={text} onValue={onValue} placeholder={placeholder} />;
    case "objects":
      return null; // each kind of object has an editor of its own
  }
}

/** The default as the field shows it; null where it is no text, or none. */
export function usualText(setting: SettingView): string | null {
  const usual = shown(setting.default);
  return typeof usual !== "string" || usual === "" ? null : usual;
}

interface FieldProps {
  name: string;
  label?: ReactNode;
  hint?: ReactNode;
  unit?: string | undefined;
  placeholder?: string | undefined;
  className?: string | undefined;
}

/** A setting of the form, with the server's own help under it. */
export function SettingField({ name, label, hint, unit, placeholder, className }: FieldProps) {
  const bound = useSetting(name);
  const { unset } = useRunForm();
  if (!bound) return null;
  const { setting, value, text, problem, isDefault, set } = bound;
  const usual = usualText(setting);
  const aside =
    isDefault || usual === null || text === usual ? undefined : (
      <Back label={`Back to the default, ${usual}`} onClick={() => unset(name)} />
    );
  return (
    <SettingControl
      setting={setting}
      value={value}
      problem={problem}
      onValue={set}
      name={name}
      label={label ?? labelOf(name)}
      hint={hint ?? <Prose text={setting.help} />}
      aside={aside}
      unit={unit}
      placeholder={placeholder}
      className={className}
      long={name === "system_prompt"}
    />
  );
}
