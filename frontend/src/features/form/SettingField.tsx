import type { ReactNode } from "react";

import { Prose } from "@/components/ui";

import { useRunForm, useSetting } from "./form";
import { labelOf } from "./labels";
import { Back, SettingControl, usualText } from "./SettingControl";

interface Props {
  name: string;
  label?: ReactNode;
  hint?: ReactNode;
  unit?: string | undefined;
  placeholder?: string | undefined;
  className?: string | undefined;
}

/** A setting of the form, with the server's own help under it. */
export function SettingField({ name, label, hint, unit, placeholder, className }: Props) {
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
