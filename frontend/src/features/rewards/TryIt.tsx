import { FlaskConical, Square } from "lucide-react";
import { useState } from "react";
import * as z from "zod/mini";

import { useCancelJobMutation, useTryRewardsMutation } from "@/api";
import type { Job, Trial } from "@/api";
import { Button, ErrorNote, Note, Progress, Select, Stat, Stats } from "@/components/ui";
import { CompletionGroups } from "@/features/completions/CompletionsCard";
import { rewardText } from "@/features/metrics/score";
import { duration, integer, percent, sentence, speed } from "@/lib/format";
import { stored, useStored } from "@/lib/stored";
import { useJob } from "@/state/hooks";

const COUNTS = ["1", "2", "4", "8"] as const;

/** Means of what was earned, and what they foretell. */
function Figures({ trial }: { trial: Trial }) {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  const cut = trial.rows.filter((row) => row.truncated).length;
  return (
    <Stats className="lg:grid-cols-6">
      <Stat label="Mean reward" value={rewardText(mean(trial.rows.map((row) => row.reward)))} />
      {trial.rewards.map((name) => (
        <Stat key={name} label={name} value={rewardText(mean(trial.rows.map((row) => row.rewards[name] ?? NaN)))} />
      ))}
      <Stat
        label="Tied groups"
        value={percent(trial.tied_groups, 0)}
        tone={trial.tied_groups > 0 ? "warn" : undefined}
        note="all earned the same"
      />
      <Stat label="Cut off" value={`${cut} of ${trial.rows.length}`} tone={cut > 0 ? "warn" : undefined} />
      <Stat
        label="Sampling"
        value={speed(trial.sampling_tokens_per_second)}
        note={`${duration(trial.seconds)} in all`}
      />
    </Stats>
  );
}

function Result({ trial, stale }: { trial: Trial; stale: boolean }) {
  return (
    <div className={stale ? "space-y-3 opacity-60" : "space-y-3"}>
      {stale && <p className="text-xs text-muted">Settings have changed since: try again to see what they do now.</p>}
      <Figures trial={trial} />
      {trial.tied_groups === 1 && (
        <Note tone="warn" title="Within each prompt, all completions earned the same.">
          Methods of this family learn from differences within a group: with these rewards nothing would be learned
          from such prompts. A reward with more grades, or more completions of a prompt, may tell them apart.
        </Note>
      )}
      {trial.warnings.map((warning) => (
        <Note key={warning} tone="warn">
          {sentence(warning)}
        </Note>
      ))}
      <CompletionGroups rows={trial.rows} />
      <p className="text-xs text-muted">
        By the model as it is, before any training. The advantage is the lead over the mean of the group.
      </p>
    </div>
  );
}

function Trying({ job, onStop }: { job: Job | undefined; onStop: () => void }) {
  const share = job?.total ? job.done / job.total : null;
  return (
    <div className="flex items-center gap-3 rounded-md bg-sunken p-3" role="status">
      <div className="min-w-0 flex-1">
        <p className="mb-1 flex justify-between gap-2 text-xs">
          <span>{job?.phase ? `${sentence(job.phase).replace(/\.$/, "")}…` : "Starting…"}</span>
          {job?.phase === "sampling" && (
            <span className="text-muted">
              {integer(job.done)} of {integer(job.total)} completions
            </span>
          )}
        </p>
        <Progress value={share} label="Trying the rewards" />
      </div>
      <Button size="sm" icon={Square} onClick={onStop}>
        Cancel
      </Button>
    </div>
  );
}

/** A trial, and the settings that it was about. */
const BEGUN = z.object({ job: z.string(), asked: z.string() });

/** The last trial of this tab, so that a reload shows it again as long as the server knows it. */
const trialStore = stored("droidft.trial", (found) => BEGUN.safeParse(found).data ?? null, {
  storage: () => sessionStorage,
});

interface Props {
  /** As for a run. */
  config: Record<string, unknown>;
  /** Why it cannot be tried now; null if it can. */
  hindrance: string | null;
}

/** Scores a few completions of the model as it is, before anything is trained. */
export function TryIt({ config, hindrance }: Props) {
  const [prompts, setPrompts] = useState<(typeof COUNTS)[number]>("2");
  const [completions, setCompletions] = useState<(typeof COUNTS)[number]>("4");
  const begun = useStored(trialStore);
  // The server may have forgotten one from before a reload.
  const [restored] = useState(begun);
  const [last, setLast] = useState<{ trial: Trial; asked: string } | null>(null);
  const [attempt, { isLoading, error }] = useTryRewardsMutation();
  const [cancel] = useCancelJobMutation();
  const job = useJob(begun?.job ?? null);
  const trial = job?.state === "done" ? job.trial : null;
  if (begun && trial && last?.trial !== trial) setLast({ trial, asked: begun.asked });
  const running = begun !== null && (job === undefined ? begun !== restored : job.state === "running");
  const asked = JSON.stringify(config);

  const run = async () => {
    const request = { settings: config, prompts: Number(prompts), completions: Number(completions) };
    const { data } = await attempt({ tryRequest: request });
    if (!data) return;
    trialStore.set({ job: data.id, asked });
  };
  return (
    <div className="space-y-3 border-t border-line pt-4">
      <div className="flex flex-wrap items-end gap-3">
        <Select
          label="Prompts"
          className="w-24"
          value={prompts}
          onValue={setPrompts}
          options={COUNTS.map((value) => ({ value, label: value }))}
        />
        <Select
          label="Completions each"
          className="w-36"
          value={completions}
          onValue={setCompletions}
          options={COUNTS.filter((value) => value !== "1").map((value) => ({ value, label: value }))}
        />
        <Button
          icon={FlaskConical}
          busy={isLoading}
          disabled={hindrance !== null || running}
          onClick={() => void run()}
        >
          Try it
        </Button>
        <p className="min-w-0 flex-1 basis-56 pb-1 text-xs text-muted">
          {hindrance ??
            "Samples from the model as it is and scores what it writes, so that you notice a reward that scores everything the same before the run."}
        </p>
      </div>
      {running && (
        <Trying
          job={job}
          onStop={() => {
            void cancel({ job: begun.job });
            trialStore.set(null);
          }}
        />
      )}
      {error && <ErrorNote error={error} />}
      {begun && job?.error && <ErrorNote error={job.error} onRetry={() => void run()} />}
      {last && <Result trial={last.trial} stale={running || last.asked !== asked} />}
    </div>
  );
}
