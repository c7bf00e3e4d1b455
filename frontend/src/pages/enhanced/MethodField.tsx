import { createContext, use } from "react";

import type { MethodView } from "@/api";
import { Prose } from "@/components/ui";
import { useRunForm, useSetting } from "@/features/form/form";
import { SettingField } from "@/features/form/SettingField";
import { sentence } from "@/lib/format";
import { methodTitle } from "@/lib/methods";
import { typed } from "@/lib/numbers";

/** The chosen method, for the fields of the page. */
export const MethodContext = createContext<MethodView | null>(null);

function written(value: unknown): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  if (typeof value === "number") return typed(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

interface Props {
  name: string;
  unit?: string | undefined;
  placeholder?: string | undefined;
  className?: string | undefined;
}

/** A setting with what it is and, where the method has a default of its own, why it is that. */
export function MethodField({ name, ...rest }: Props) {
  const method = use(MethodContext);
  const bound = useSetting(name);
  const { unset } = useRunForm();
  if (!bound) return null;
  const own = method?.defaults.find((one) => one.name === name);
  const switched = bound.setting.kind === "boolean" && bound.value !== bound.setting.default;
  return (
    <SettingField
      name={name}
      {...rest}
      hint={
        <>
          <Prose text={bound.setting.help} />
          {own && method && (
            <span className="mt-0.5 block">
              <span className="text-ink">
                {methodTitle(method.name)}: {written(own.value)}.
              </span>{" "}
              {sentence(own.why)}
            </span>
          )}
          {switched && (
            <button
              type="button"
              className="mt-0.5 block rounded text-accent underline-offset-2 hover:underline"
              onClick={() => unset(name)}
            >
              Back to the default, {written(bound.setting.default)}
            </button>
          )}
        </>
      }
    />
  );
}
