/** An export on its way to a hub: looked at, agreed to by name, watched, and where it lies then. */

import { ExternalLink, UploadCloud } from "lucide-react";
import { useState } from "react";

import { usePlanPushMutation, usePushExportMutation } from "@/api";
import type { ExportEntry, Job, PlannedPush, PushPlan } from "@/api";
import {
  Button,
  Card,
  Dialog,
  Disclosure,
  ErrorNote,
  LinkButton,
  Note,
  Prose,
  Switch,
  TextField,
} from "@/components/ui";
import { bytes, count, sentence } from "@/lib/format";
import { useJob, useJobs } from "@/state/hooks";

import { JobProgress } from "./JobProgress";
import { newestPush, pushRequestOf, repositoryFault, repositoryOf } from "./push";
import type { PushDraft } from "./push";

/** For an export that did not fail; one that failed does not leave. */
export function PushCard({ entry }: { entry: ExportEntry }) {
  const [begun, setBegun] = useState<string | null>(null);
  const newest = newestPush(useJobs(), entry);
  const job = useJob(begun ?? newest?.id ?? null);
  return (
    <Card
      title="Push to the hub"
      description="To a repository on the Hugging Face Hub, with the token of the server's machine."
    >
      <div className="space-y-4">
        {job && <PushState job={job} />}
        {job?.state !== "running" && (
          <PushForm key={job?.id} entry={entry} first={job ? repositoryOf(job) : ""} onBegun={setBegun} />
        )}
      </div>
    </Card>
  );
}

function PushState({ job }: { job: Job }) {
  switch (job.state) {
    case "running":
      return (
        <>
          <JobProgress job={job} />
          <p className="text-[0.8125rem] text-muted">
            It goes on when you leave this page. The repository shows all files at once, at the end.
          </p>
        </>
      );
    case "failed":
      return (
        <>
          <ErrorNote error={job.error} />
          <p className="text-[0.8125rem] text-muted">
            Push again when that is put right: what the hub has whole is not sent again.
          </p>
        </>
      );
    case "cancelled":
      return (
        <Note tone="neutral" title={`The push to ${repositoryOf(job)} was cancelled.`} live>
          None of its files are shown there. Pushed again, what the hub has whole is not sent again.
        </Note>
      );
    case "done":
      return job.pushed && <Arrived pushed={job.pushed} />;
  }
}

function Arrived({ pushed }: { pushed: NonNullable<Job["pushed"]> }) {
  return (
    <Note
      tone="good"
      live
      title={`Pushed to ${pushed.repo_id}.`}
      actions={
        <LinkButton newTab size="sm" icon={ExternalLink} to={pushed.url}>
          Open {pushed.repo_id}
        </LinkButton>
      }
    >
      {`${count(pushed.files, "file")}, ${bytes(pushed.bytes)}; ${bytes(pushed.sent)} of large files went over the line.`}
    </Note>
  );
}

interface FormProps {
  entry: ExportEntry;
  /** The repository that is filled in. */
  first: string;
  onBegun: (job: string) => void;
}

function PushForm({ entry, first, onBegun }: FormProps) {
  const [draft, setDraft] = useState<PushDraft>({ repository: first, isPrivate: true, overwrite: false });
  const [look, { data, error, isLoading, reset }] = usePlanPushMutation();
  const request = pushRequestOf(draft);
  const change = (changes: Partial<PushDraft>) => {
    reset();
    setDraft({ ...draft, overwrite: false, ...changes });
  };
  const ask = (wanted: PushDraft) => {
    const asked = pushRequestOf(wanted);
    setDraft(wanted);
    if (asked) void look({ name: entry.name, pushRequest: asked });
  };
  return (
    <form
      className="space-y-4"
      onSubmit={(event) => {
        event.preventDefault();
        ask(draft);
      }}
    >
      <TextField
        label="Repository"
        value={draft.repository}
        onValue={(repository) => change({ repository })}
        placeholder={`owner/${entry.name}`}
        error={repositoryFault(draft.repository)}
        hint="As owner/name: yours, or an organisation's that you belong to. It is made if it is not there."
        mono
      />
      <Switch
        label="Private"
        checked={draft.isPrivate}
        onValue={(isPrivate) => change({ isPrivate })}
        hint={
          draft.isPrivate
            ? "Only you, and members of the organisation, can see it."
            : "A new repository is made public: everybody can see and download it."
        }
      />
      <Button type="submit" icon={UploadCloud} busy={isLoading} disabled={request === null}>
        Push…
      </Button>
      {error && <ErrorNote error={error} onRetry={() => ask(draft)} />}
      {data?.refusal && (
        <Refusal
          refusal={data.refusal}
          onPublic={() => ask({ ...draft, isPrivate: false })}
          onOverwrite={() => ask({ ...draft, overwrite: true })}
        />
      )}
      {data?.plan && <Agreement entry={entry} draft={draft} plan={data.plan} onClose={reset} onBegun={onBegun} />}
    </form>
  );
}

interface RefusalProps {
  refusal: NonNullable<PushPlan["refusal"]>;
  onPublic: () => void;
  onOverwrite: () => void;
}

/** Why it cannot be pushed, and what can be allowed, a click away. */
function Refusal({ refusal: { message, hint, field }, onPublic, onOverwrite }: RefusalProps) {
  return (
    <Note
      tone="bad"
      live
      title={<Prose text={sentence(message)} />}
      actions={
        field === "private" ? (
          <Button size="sm" onClick={onPublic}>
            Push to the public repository…
          </Button>
        ) : field === "overwrite" ? (
          <Button size="sm" onClick={onOverwrite}>
            Push beside what is there…
          </Button>
        ) : undefined
      }
    >
      {hint !== "" && (
        <p>
          <Prose text={sentence(hint)} />
        </p>
      )}
    </Note>
  );
}

interface AgreementProps {
  entry: ExportEntry;
  draft: PushDraft;
  plan: PlannedPush;
  onClose: () => void;
  onBegun: (job: string) => void;
}

/** The question before anything is sent: what, where to, as whom. What is agreed to is what is done, or nothing is. */
function Agreement({ entry, draft, plan, onClose, onBegun }: AgreementProps) {
  const [push, { error, isLoading }] = usePushExportMutation();
  const request = pushRequestOf(draft);
  const start = async () => {
    if (!request) return;
    const { data } = await push({ name: entry.name, agreedPush: { ...request, agreed: plan.question } });
    if (data) onBegun(data.id);
  };
  return (
    <Dialog
      open
      onClose={onClose}
      title={`Push ${entry.name} to ${plan.repo_id}?`}
      actions={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button variant="primary" busy={isLoading} onClick={() => void start()}>
            Push as {plan.user}
          </Button>
        </>
      }
    >
      <div className="space-y-4">
        <p>
          <Prose text={plan.question} />
        </p>
        <dl className="grid grid-cols-[auto_minmax(0,1fr)] gap-x-4 gap-y-1.5 text-[0.8125rem]">
          {[
            ["Repository", `${plan.repo_id}, ${plan.exists ? "there already" : "new"}`],
            ["Visible to", plan.private ? "you and the organisation's members" : "everybody"],
            ["Account", plan.user],
          ].map(([name, text]) => (
            <div key={name} className="contents">
              <dt className="text-muted">{name}</dt>
              <dd className="min-w-0 wrap-anywhere">{text}</dd>
            </div>
          ))}
        </dl>
        {!plan.private && <Note tone="warn" title="Everybody can see and download it." />}
        <Disclosure title={count(Object.keys(plan.files).length, "file")} aside={bytes(plan.bytes)}>
          <ul className="space-y-1 pt-1 text-xs">
            {Object.entries(plan.files).map(([name, size]) => (
              <li key={name} className="flex justify-between gap-3">
                <span className="min-w-0 font-mono wrap-anywhere">{name}</span>
                <span className="shrink-0 text-muted tabular-nums">{bytes(size)}</span>
              </li>
            ))}
          </ul>
        </Disclosure>
        {error && <ErrorNote error={error} />}
      </div>
    </Dialog>
  );
}
