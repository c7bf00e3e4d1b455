import { RotateCcw } from "lucide-react";
import type { ReactNode } from "react";

import { NumberField, Prose, Select, Switch, TextArea, TextField } from "@/components/ui";

import { isText, rulesOf, shown } from "./draft";
import { useSetting, useRunForm } from "./form";
import { labelOf } from "./labels";

interface Props {
  name: string;
  label?: ReactNode;
  hint?: ReactNode;
  unit?: string | undefined;
  placeholder?: string | undefined;
  className?: string | undefined;
}

function Back({ label, onClick }: { label: string; onClick: () => void }) {
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

/** The control of a setting, whatever kind it is, with the server's own help under it. */
export function SettingField({ name, label, hint, unit, placeholder, className }: Props) {
  const bound = useSetting(name);
  const { unset } = useRunForm();
  if (!bound) return null;
  const { setting, value, text, problem, isDefault, set } = bound;
  const shared = {
    label: label ?? labelOf(name),
    hint: hint ?? <Prose text={setting.help} />,
    error: problem,
    className,
  };
  const usual = shown(setting.default);
  const aside =
    isDefault || typeof usual !== "string" || usual === "" || text === usual ? undefined : (
      <Back label={`Back to the default, ${usual}`} onClick={() => unset(name)} />
    );
  switch (setting.kind) {
    case "boolean":
      return (
        <Switch
          label={shared.label}
          hint={shared.hint}
          checked={value === true}
          onValue={set}
          className={className}
        />
      );
    case "integer":
    case "number":
      return (
        <NumberField
          {...shared}
          name={name}
          aside={aside}
          text={text}
          onText={set}
          rules={rulesOf(setting)}
          unit={unit}
          placeholder={placeholder ?? (setting.optional ? "default" : undefined)}
        />
      );
    case "list":
      return (
        <TextArea
          {...shared}
          name={name}
          mono
          value={Array.isArray(value) ? value.filter(isText).join("\n") : ""}
          onValue={(lines) => set(lines.split("\n"))}
        />
      );
    case "text":
      if (setting.choices.length > 0) {
        const options = setting.choices.map((choice) => ({ value: choice, label: choice }));
        return <Select {...shared} name={name} aside={aside} value={text} options={options} onValue={set} />;
      }
      if (name === "system_prompt") return <TextArea {...shared} name={name} value={text} onValue={set} />;
      return <TextField {...shared} name={name} value={text} onValue={set} placeholder={placeholder} />;
    case "objects":
      return null; // each kind of object has an editor of its own
  }
}
