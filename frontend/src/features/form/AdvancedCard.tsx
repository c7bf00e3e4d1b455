import { Settings2 } from "lucide-react";

import { Badge, Card, Disclosure } from "@/components/ui";

import { NOT_IN_FORM } from "./draft";
import { useRunForm } from "./form";
import { PLACED } from "./labels";
import { SettingField } from "./SettingField";

/** Every setting that has no place in the other cards, which are `placed`; as the server lists them. */
export function AdvancedCard({ placed = PLACED }: { placed?: ReadonlySet<string> }) {
  const { settings, draft, problems } = useRunForm();
  const rest = [...settings.values()].filter(({ name }) => !placed.has(name) && !NOT_IN_FORM.has(name));
  const groups = [...new Set(rest.map((setting) => setting.group))];
  return (
    <Card title="All other settings" icon={Settings2} description="The defaults are sensible; each can be changed.">
      <div className="divide-y divide-line">
        {groups.map((group) => {
          const members = rest.filter((setting) => setting.group === group);
          const changed = members.filter(({ name }) => draft[name] !== undefined).length;
          const faulty = members.some(({ name }) => problems[name] !== undefined);
          return (
            <div key={group} className="py-2 first:pt-0 last:pb-0">
              <Disclosure
                title={group}
                open={changed > 0 || faulty}
                aside={
                  faulty ? <Badge tone="bad">needs fixing</Badge> : changed > 0 ? `${changed} changed` : undefined
                }
              >
                <div className="grid items-start gap-4 sm:grid-cols-2">
                  {members.map((setting) => (
                    <SettingField key={setting.name} name={setting.name} />
                  ))}
                </div>
              </Disclosure>
            </div>
          );
        })}
      </div>
    </Card>
  );
}
