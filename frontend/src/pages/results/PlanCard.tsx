/** What an export would make, before it is started: size, time, place, warnings; or why it is refused. */

import { skipToken } from "@reduxjs/toolkit/query";
import { useMemo } from "react";
import type { ReactNode } from "react";

import { usePlanExportQuery } from "@/api";
import type { ExportPlan, ExportRequest, FormFacts } from "@/api";
import { Button, Card, ErrorNote, Loading, Note, Prose, Stat } from "@/components/ui";
import { bytes, duration, sentence } from "@/lib/format";
import { useDebounced } from "@/lib/hooks";

import type { ExportForm } from "./exportDraft";

const TYPING_MS = 300;

interface Props {
  /** Null while the form cannot be read. */
  request: ExportRequest | null;
  forms: readonly FormFacts[];
  onForm: (form: ExportForm) => void;
  /** Undefined where that is what was asked for. */
  onReplace: (() => void) | undefined;
  /** The button; `ready` when nothing speaks against it. */
  start: (ready: boolean) => ReactNode;
}

/** What the server says of a request, once it has stayed the same for a moment. */
function usePlan(request: ExportRequest | null) {
  const wanted = JSON.stringify(request);
  const settled = useDebounced(wanted, TYPING_MS);
  const asked = useMemo(() => request, [settled]); // eslint-disable-line react-hooks/exhaustive-deps -- `settled` stands for it
  const { currentData, error, isFetching, refetch } = usePlanExportQuery(
    asked === null ? skipToken : { exportRequest: asked },
    { refetchOnMountOrArgChange: true },
  );
  const fresh = settled === wanted && !isFetching;
  return { plan: fresh ? currentData : undefined, error: fresh ? error : undefined, refetch };
}

export function PlanCard({ request, forms, onForm, onReplace, start }: Props) {
  const { plan, error, refetch } = usePlan(request);
  return (
    <Card title="Before it starts">
      <div className="space-y-4">
        {request === null ? (
          <p className="text-muted">Fix what is marked above.</p>
        ) : error !== undefined ? (
          <ErrorNote error={error} onRetry={() => void refetch()} />
        ) : plan === undefined ? (
          <Loading label="Checking…" />
        ) : (
          <Planned plan={plan} forms={forms} onForm={onForm} onReplace={request.replace ? undefined : onReplace} />
        )}
        {start(plan?.plan != null)}
      </div>
    </Card>
  );
}

function Planned({
  plan: { plan, refusal, instead },
  ...rest
}: { plan: ExportPlan } & Pick<Props, "forms" | "onForm" | "onReplace">) {
  if (plan === null) return refusal && <Refusal refusal={refusal} instead={instead} {...rest} />;
  return (
    <>
      <dl className="grid grid-cols-2 gap-x-4">
        <Stat label="Size" value={`about ${bytes(plan.bytes)}`} />
        <Stat label="Time" value={`about ${duration(coarse(plan.seconds))}`} note="certificate included" />
      </dl>
      <dl className="space-y-2 text-[0.8125rem]">
        <div>
          <dt className="text-xs text-muted">Base</dt>
          <dd className="wrap-anywhere">{plan.base}</dd>
        </div>
        <div>
          <dt className="text-xs text-muted">Folder</dt>
          <dd className="font-mono text-xs wrap-anywhere">{plan.path}</dd>
        </div>
      </dl>
      {plan.warnings.map((warning) => (
        <Note key={warning} tone="warn">
          <Prose text={sentence(warning)} />
        </Note>
      ))}
    </>
  );
}

/** An estimate has no more digits than it deserves: 10 s steps below a minute, then half minutes, then minutes. */
export function coarse(seconds: number): number {
  const step = seconds < 60 ? 10 : seconds < 300 ? 30 : seconds < 3600 ? 60 : 600;
  return Math.max(step, Math.round(seconds / step) * step);
}

interface RefusalProps extends Pick<Props, "forms" | "onForm" | "onReplace"> {
  refusal: NonNullable<ExportPlan["refusal"]>;
  instead: ExportPlan["instead"];
}

/** Why it cannot be made, and what can, a click away. */
function Refusal({ refusal, instead, forms, onForm, onReplace }: RefusalProps) {
  const able = forms.filter(({ form }) => instead.includes(form));
  return (
    <Note
      tone="bad"
      live
      title={<Prose text={sentence(refusal.message)} />}
      actions={
        refusal.field === "name"
          ? onReplace && (
              <Button size="sm" onClick={onReplace}>
                Replace it
              </Button>
            )
          : able.length > 0 &&
            able.map(({ form, title }) => (
              <Button key={form} size="sm" onClick={() => onForm(form)}>
                {title}
              </Button>
            ))
      }
    >
      {refusal.hint !== "" && (
        <p>
          <Prose text={sentence(refusal.hint)} />
        </p>
      )}
      {able.length > 0 && <p className="mt-1">These forms can hold it:</p>}
    </Note>
  );
}
