import { SlidersHorizontal } from "lucide-react";

import type { MethodView } from "@/api";
import { Card } from "@/components/ui";
import { useRunForm } from "@/features/form/form";
import { methodTitle } from "@/lib/methods";

import { MethodField } from "./MethodField";

const UNITS: Readonly<Record<string, string>> = { max_prompt_length: "tokens", max_completion_length: "tokens" };

/** The settings that only methods of this family have, with the method's defaults and why they are these. */
export function ParametersCard({ method }: { method: MethodView }) {
  const { settings } = useRunForm();
  const names = method.settings.filter((name) => name !== "rewards" && settings.has(name));
  const groups = [...new Set(names.map((name) => settings.get(name)?.group ?? ""))];
  const titles: Readonly<Record<string, string>> = { "Sampling and rewards": "Sampling", "Model and data": "Length" };
  return (
    <Card
      title="Method parameters"
      icon={SlidersHorizontal}
      description={`Of ${methodTitle(method.name)}, with its defaults and the reason for each.`}
    >
      <div className="space-y-5">
        {groups.map((group) => (
          <section key={group}>
            <h3 className="mb-2 text-xs font-medium text-muted">{titles[group] ?? group}</h3>
            <div className="grid items-start gap-x-4 gap-y-4 sm:grid-cols-2 lg:grid-cols-3">
              {names
                .filter((name) => settings.get(name)?.group === group)
                .map((name) => (
                  <MethodField key={name} name={name} unit={UNITS[name]} />
                ))}
            </div>
          </section>
        ))}
      </div>
    </Card>
  );
}
