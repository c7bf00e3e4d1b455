import { useState } from "react";

import { useGetSettingsQuery } from "@/api";
import type { RunDetail, RunSummary, SettingView } from "@/api";
import { Card, CodeBlock, Disclosure, ErrorNote, Skeleton, Switch } from "@/components/ui";
import { forMethod } from "@/features/form/draft";
import { labelOf } from "@/features/form/labels";
import { settingText } from "@/features/form/settingText";

/** The settings, grouped as in Setup: those that differ from the defaults, or all; and the same run to copy. */
export function Configuration({ run, detail }: { run: RunSummary; detail: RunDetail }) {
  const [all, setAll] = useState(false);
  const { data, error, refetch } = useGetSettingsQuery();
  return (
    <Card
      title="Configuration"
      description={
        all ? "Every setting; those that differ from their default are bold." : "What differs from the defaults."
      }
      actions={<Switch label="All settings" checked={all} onValue={setAll} />}
    >
      {error ? (
        <ErrorNote error={error} onRetry={() => void refetch()} />
      ) : data ? (
        <Groups settings={data.settings} detail={detail} all={all} />
      ) : (
        <Skeleton className="h-40 w-full" />
      )}
      <div className="mt-4 space-y-1 border-t border-line pt-3">
        <Disclosure title="As a command line">
          <CodeBlock text={detail.command} label="command line" wrap />
        </Disclosure>
        <Disclosure title="As a settings file (YAML)">
          <CodeBlock text={detail.yaml} label="YAML" />
          <p className="mt-1 text-xs text-muted">
            <code className="font-mono">droidft train {run.adapter || "settings"}.yaml</code> runs it; Setup loads it
            too.
          </p>
        </Disclosure>
      </div>
    </Card>
  );
}

interface GroupsProps {
  settings: readonly SettingView[];
  detail: RunDetail;
  all: boolean;
}

function Groups({ settings: known, detail: { config, changed }, all }: GroupsProps) {
  const settings = forMethod(known, config.method ?? "sft");
  const values: Readonly<Record<string, unknown>> = { ...config };
  const shown = settings.filter(({ name }) => name !== "resume" && (all || name in changed));
  const groups = [...new Set(shown.map((setting) => setting.group))];
  if (shown.length === 0) return <p className="text-muted">Everything has its default.</p>;
  return (
    <div className="space-y-4">
      {groups.map((group) => (
        <section key={group}>
          <h3 className="mb-1 text-xs font-medium text-muted">{group}</h3>
          <dl className="divide-y divide-line border-y border-line text-[0.8125rem]">
            {shown
              .filter((setting) => setting.group === group)
              .map((setting) => (
                <Row
                  key={setting.name}
                  setting={setting}
                  value={values[setting.name]}
                  differs={setting.name in changed}
                />
              ))}
          </dl>
        </section>
      ))}
    </div>
  );
}

function Row({ setting, value, differs }: { setting: SettingView; value: unknown; differs: boolean }) {
  return (
    <div className="flex flex-wrap items-baseline justify-between gap-x-4 py-1.5">
      <dt title={setting.help}>
        {labelOf(setting.name)} <span className="font-mono text-xs text-muted">{setting.name}</span>
      </dt>
      <dd className={differs ? "font-medium wrap-anywhere" : "text-muted wrap-anywhere"}>
        {settingText(value)}
        {differs && !setting.required && (
          <span className="ml-2 text-xs font-normal text-muted">default {settingText(setting.default)}</span>
        )}
      </dd>
    </div>
  );
}
