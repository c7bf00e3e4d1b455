import { CircleCheck, CircleDashed, FileDown, FileUp, Play, RotateCcw } from "lucide-react";
import { useRef, useState } from "react";
import { useNavigate } from "react-router";

import { useGetSettingsQuery, useParseYamlMutation } from "@/api";
import type { DraftReport } from "@/api";
import {
  Badge,
  Button,
  Card,
  CodeBlock,
  Disclosure,
  ErrorNote,
  Note,
  Prose,
  Tabs,
  useConfirm,
} from "@/components/ui";
import { cx } from "@/lib/cx";
import { count } from "@/lib/format";
import { setupName, setupPath } from "@/lib/methods";
import { useToast } from "@/state/hooks";

import { forMethod, fromConfig } from "./draft";
import { leaveFor, useRunForm } from "./form";
import { labelOf } from "./labels";
import type { Reason } from "./readiness";

/** Bring a setting's control into view and give it the focus. */
function focusOn(field: string): void {
  const control =
    document.querySelector<HTMLElement>(`[name="${field}"]`) ?? document.getElementById(`part-${field}`);
  control?.scrollIntoView({ block: "center", behavior: "smooth" });
  control?.focus({ preventScroll: true });
}

function ReasonList({ reasons }: { reasons: readonly Reason[] }) {
  return (
    <ul className="mt-2 space-y-1 text-[0.8125rem]">
      {reasons.map(({ field, text }) => (
        <li key={text} className="flex gap-1.5 wrap-anywhere">
          <span aria-hidden className="text-muted">
            –
          </span>
          {field === null ? (
            text
          ) : (
            <button
              type="button"
              className="rounded text-left underline decoration-dotted underline-offset-2"
              onClick={() => focusOn(field)}
            >
              {text}
            </button>
          )}
        </li>
      ))}
    </ul>
  );
}

function Files({ yaml }: { yaml: string }) {
  const { page, replace } = useRunForm();
  const { data: known } = useGetSettingsQuery();
  const navigate = useNavigate();
  const [parse, { error, reset }] = useParseYamlMutation();
  const input = useRef<HTMLInputElement>(null);
  const toast = useToast();
  const load = async (file: File | undefined) => {
    if (!file) return;
    reset();
    const { data } = await parse({ yamlText: { text: await file.text() } });
    if (!data) return;
    const method = typeof data.values["method"] === "string" ? data.values["method"] : "sft";
    const { draft, unknown } = fromConfig(data.values, forMethod(known?.settings ?? [], method));
    const left = unknown.length > 0 ? `Left out: ${unknown.join(", ")}.` : undefined;
    const there = setupPath(method);
    if (there === page) replace(draft);
    else {
      leaveFor(there, draft);
      await navigate(there);
    }
    const title = `Settings of ${file.name} loaded${there === page ? "" : ` into ${setupName(method)}`}`;
    toast({ tone: left ? "warn" : "good", title, text: left });
  };
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([yaml], { type: "application/yaml" }));
    link.download = "droidft.yaml";
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <>
      <div className="flex flex-wrap gap-2">
        <input
          ref={input}
          type="file"
          accept=".yaml,.yml,.json"
          aria-label="Settings file"
          tabIndex={-1}
          className="sr-only"
          onChange={(event) => {
            void load(event.target.files?.[0]);
            event.target.value = "";
          }}
        />
        <Button size="sm" icon={FileUp} onClick={() => input.current?.click()}>
          Load YAML
        </Button>
        <Button size="sm" icon={FileDown} onClick={save}>
          Save YAML
        </Button>
        <Reset />
      </div>
      {error && <ErrorNote error={error} />}
    </>
  );
}

function Reset() {
  const { replace, draft } = useRunForm();
  const [ask, dialog] = useConfirm();
  const reset = async () => {
    const yes = await ask({
      title: "Start over?",
      text: "Model, data and all settings go back to their defaults. Runs and files stay as they are.",
      confirm: "Start over",
      danger: true,
    });
    if (yes) replace({});
  };
  return (
    <>
      <Button
        size="sm"
        variant="ghost"
        icon={RotateCcw}
        disabled={Object.keys(draft).length === 0}
        onClick={() => void reset()}
      >
        Reset
      </Button>
      {dialog}
    </>
  );
}

interface Props {
  reasons: readonly Reason[];
  report: DraftReport | undefined;
  /** Whether the report, and with it the readiness, is of the form as it is now. */
  fresh: boolean;
  /** The data is still being read: it can be started, yet is not known to be sound. */
  checking: boolean;
  /** What the memory estimate says, where that is anything but "fits". */
  memory: string | null;
  busy: boolean;
  error: unknown;
  onStart: () => void;
}

/** On a narrow screen the card is far below: this keeps its gist in sight. */
export function StartBar({ reasons, fresh, busy, onStart }: Pick<Props, "reasons" | "fresh" | "busy" | "onStart">) {
  const [first] = reasons;
  return (
    <div className="sticky bottom-[54px] z-20 -mx-4 flex items-center gap-3 border-t border-line bg-surface px-4 py-2 sm:-mx-6 sm:px-6 md:bottom-0 lg:hidden">
      <p className={cx("min-w-0 flex-1 truncate text-[0.8125rem] font-medium", first ? "text-warn" : "text-good")}>
        {first ? `Not ready: ${first.text}` : "Ready"}
      </p>
      <Button
        size="sm"
        variant={first ? "secondary" : "primary"}
        icon={first ? undefined : Play}
        busy={busy}
        disabled={!fresh && !first}
        onClick={first ? () => first.field !== null && focusOn(first.field) : onStart}
      >
        {first ? "Show" : "Start"}
      </Button>
    </div>
  );
}

/** Whether it can start, and the same run as a command line and as a file. */
export function PreviewCard({ reasons, report, fresh, checking, memory, busy, error, onStart }: Props) {
  const [form, setForm] = useState<"command" | "yaml">("command");
  const ready = reasons.length === 0;
  const Icon = ready ? CircleCheck : CircleDashed;
  const changed = report?.changed ?? [];
  return (
    <Card title="The run">
      <div className="space-y-4">
        <div aria-live="polite">
          <p className={cx("flex items-center gap-2 font-semibold", ready ? "text-good" : "text-warn")}>
            <Icon className="size-4" aria-hidden />
            {ready ? "Ready" : "Not ready"}
          </p>
          {!ready && <ReasonList reasons={reasons} />}
          {ready && checking && <p className="mt-1 text-xs text-muted">The data is still being checked.</p>}
        </div>
        <Button
          variant="primary"
          icon={Play}
          className="w-full"
          disabled={!ready || !fresh}
          busy={busy}
          onClick={onStart}
        >
          Start training
        </Button>
        {error !== undefined && <ErrorNote error={error} />}
        {memory !== null && <Note tone="warn">{memory}</Note>}
        {report?.warnings.map((warning) => (
          <Note key={warning} tone="warn">
            <Prose text={warning} />
          </Note>
        ))}
        <Disclosure
          title={`${count(changed.length, "setting")} ${changed.length === 1 ? "differs" : "differ"} from the default`}
        >
          {changed.length === 0 ? (
            <p className="text-xs text-muted">Everything except model and data has its default.</p>
          ) : (
            <ul className="flex flex-wrap gap-1.5">
              {changed.map((name) => (
                <li key={name}>
                  <Badge>{labelOf(name)}</Badge>
                </li>
              ))}
            </ul>
          )}
        </Disclosure>
        <div className="border-t border-line pt-2">
          <Tabs
            label="The same run elsewhere"
            value={form}
            tabs={[
              { value: "command", label: "Command line" },
              { value: "yaml", label: "YAML" },
            ]}
            onValue={setForm}
          >
            {report && (
              <CodeBlock
                text={form === "command" ? report.command : report.yaml}
                label={form === "command" ? "command line" : "YAML"}
                wrap={form === "command"}
              />
            )}
          </Tabs>
        </div>
        <Files yaml={report?.yaml ?? ""} />
      </div>
    </Card>
  );
}
