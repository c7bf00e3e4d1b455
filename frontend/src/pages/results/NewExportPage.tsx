/** A new export: adapter, form and type chosen, what it would make shown, then started and watched. */

import { Boxes } from "lucide-react";
import { useEffect, useEffectEvent, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";

import { api, useCreateExportMutation, useListAdaptersQuery, useListExportFormsQuery } from "@/api";
import type { AdapterEntry, FormFacts, Job } from "@/api";
import {
  Answered,
  BackLink,
  Button,
  Card,
  EmptyState,
  ErrorNote,
  LinkButton,
  Note,
  PageHeader,
  Skeletons,
} from "@/components/ui";
import { JobProgress } from "@/features/exports/JobProgress";
import { exportPage } from "@/features/exports/links";
import { useAppDispatch, useJob } from "@/state/hooks";

import { adapterAndWeights, requestOf } from "./exportDraft";
import type { ExportDraft } from "./exportDraft";
import { AdapterCard, FormCard, MoreSettings } from "./ExportSettings";
import { PlanCard } from "./PlanCard";

const USUAL_FORM = "gguf";

export default function NewExportPage() {
  const adapters = useListAdaptersQuery();
  const forms = useListExportFormsQuery();
  const waiting = <Skeletons label="Loading adapters and forms" heights={["h-24", "h-64", "h-32"]} />;
  return (
    <>
      <BackLink to="/results/exports">All exports</BackLink>
      <PageHeader
        title="Export an adapter"
        description="As files for other programs, with a certificate that says whether they are what was trained."
      />
      <Answered query={adapters} waiting={waiting}>
        {(known) => (
          <Answered query={forms} waiting={waiting}>
            {(facts) => <Chosen adapters={known.filter((each) => each.problem === "")} forms={facts} />}
          </Answered>
        )}
      </Answered>
    </>
  );
}

interface Lists {
  adapters: readonly AdapterEntry[];
  forms: readonly FormFacts[];
}

const REST = { name: "", into: "", rows: "", rowCount: "32", replace: false };

/** The form, or the export that was started: what is chosen and the job stand in the address, so a reload keeps both. */
function Chosen({ adapters, forms }: Lists) {
  const [params, setParams] = useSearchParams();
  const [rest, setRest] = useState(REST);
  const asked = adapterAndWeights(params.get("adapter") ?? "");
  const facts = forms.find((each) => each.form === (params.get("form") ?? USUAL_FORM)) ?? forms[0];
  const first = adapters[0];
  if (!first || !facts) return <NoAdapter />;

  const type = params.get("type") ?? "";
  const draft: ExportDraft = {
    ...rest,
    adapter: asked.adapter || first.name,
    which: asked.which,
    form: facts.form,
    type: facts.types.includes(type) ? type : "",
  };
  const change = (changes: Partial<ExportDraft>) => {
    const next = { ...draft, replace: false, ...changes };
    if (changes.form !== undefined && changes.form !== draft.form) next.type = "";
    setRest({ name: next.name, into: next.into, rows: next.rows, rowCount: next.rowCount, replace: next.replace });
    setParams(addressOf(next, null), { replace: true });
  };
  const onJob = (job: string | null) => setParams(addressOf(draft, job), { replace: true });

  const job = params.get("job");
  if (job !== null) return <Started id={job} onBack={() => onJob(null)} />;
  return (
    <div className="grid items-start gap-5 lg:grid-cols-[minmax(0,3fr)_minmax(0,2fr)]">
      <div className="min-w-0 space-y-5">
        <AdapterCard draft={draft} onChange={change} adapters={adapters} />
        <FormCard draft={draft} onChange={change} forms={forms} facts={facts} />
        <MoreSettings draft={draft} onChange={change} adapters={adapters} />
      </div>
      <Start draft={draft} onChange={change} forms={forms} onJob={onJob} />
    </div>
  );
}

function addressOf({ adapter, which, form, type }: ExportDraft, job: string | null): URLSearchParams {
  const params = new URLSearchParams({ adapter: which === "" ? adapter : `${adapter}@${which}`, form });
  if (type !== "") params.set("type", type);
  if (job !== null) params.set("job", job);
  return params;
}

function NoAdapter() {
  return (
    <Card>
      <EmptyState
        icon={Boxes}
        title="No adapter yet."
        actions={
          <LinkButton to="/setup" variant="primary">
            Train one
          </LinkButton>
        }
      >
        A run saves its adapter with its first checkpoint.
      </EmptyState>
    </Card>
  );
}

interface StartProps {
  draft: ExportDraft;
  onChange: (changes: Partial<ExportDraft>) => void;
  forms: readonly FormFacts[];
  onJob: (job: string) => void;
}

function Start({ draft, onChange, forms, onJob }: StartProps) {
  const [create, { error, isLoading }] = useCreateExportMutation();
  const request = requestOf(draft);
  const start = async () => {
    if (!request) return;
    const { data } = await create({ exportRequest: request });
    if (data) onJob(data.id);
  };
  return (
    <div className="min-w-0 space-y-5 lg:sticky lg:top-17">
      <PlanCard
        request={request}
        forms={forms}
        onForm={(form) => onChange({ form })}
        onReplace={() => onChange({ replace: true })}
        start={(ready) => (
          <Button variant="primary" busy={isLoading} disabled={!ready} onClick={() => void start()}>
            {draft.replace ? "Replace and export" : "Export"}
          </Button>
        )}
      />
      {error && <ErrorNote error={error} />}
    </div>
  );
}

/** The export that was started: how far it is, then its page; or why there is none. */
function Started({ id, onBack }: { id: string; onBack: () => void }) {
  const job = useJob(id);
  const navigate = useNavigate();
  const dispatch = useAppDispatch();
  const arrived = useEffectEvent((name: string) => {
    dispatch(api.util.invalidateTags(["exports"]));
    void navigate(exportPage(name), { replace: true });
  });
  const made = job?.state === "done" ? job.export?.name : undefined;
  useEffect(() => {
    if (made !== undefined) arrived(made);
  }, [made]);
  return (
    <Card title="The export">
      <div className="space-y-4">
        <JobState job={job} />
        {job?.state !== "running" && (
          <div className="flex flex-wrap gap-2">
            <Button onClick={onBack}>Back to the settings</Button>
            <LinkButton to="/results/exports">All exports</LinkButton>
          </div>
        )}
      </div>
    </Card>
  );
}

function JobState({ job }: { job: Job | undefined }) {
  if (!job) {
    return (
      <Note tone="neutral" title="This export is not known to the server any more.">
        If it was finished, it is in the list of exports.
      </Note>
    );
  }
  switch (job.state) {
    case "running":
      return (
        <>
          <JobProgress job={job} />
          <p className="text-[0.8125rem] text-muted">
            It goes on when you leave this page, and appears in the list of exports.
          </p>
        </>
      );
    case "failed":
      return <ErrorNote error={job.error} />;
    case "cancelled":
      return <Note tone="neutral" title="The export was cancelled. Nothing of it is left." />;
    case "done":
      return <Note tone="neutral" title="The export is made." />;
  }
}
