/** An export that is being made, or pushed. */

import { X } from "lucide-react";

import { useCancelJobMutation } from "@/api";
import type { Job } from "@/api";
import { IconButton, Progress } from "@/components/ui";
import { capital, percent } from "@/lib/format";

/** What it is doing and how far it is, and a way to call it off. */
export function JobProgress({ job }: { job: Job }) {
  const [cancel, cancelling] = useCancelJobMutation();
  const share = job.total ? job.done / job.total : null;
  const work = job.kind === "push" ? "push" : "export";
  const phase = job.waiting ? `Waiting for another ${work}` : capital(job.phase === "" ? "starting" : job.phase);
  return (
    <div className="flex items-center gap-3 rounded-md bg-sunken p-3" role="status">
      <div className="min-w-0 flex-1">
        <p className="mb-1 flex flex-wrap justify-between gap-x-3 text-xs">
          <span className="font-medium wrap-anywhere">{job.title}</span>
          <span className="text-muted">
            {phase}
            {share !== null && `, ${percent(share, 0)}`}
          </span>
        </p>
        <Progress value={share} label={job.title} />
      </div>
      <IconButton
        icon={X}
        label={`Cancel the ${work} of ${job.title}`}
        size="sm"
        busy={cancelling.isLoading}
        onClick={() => void cancel({ job: job.id })}
      />
    </div>
  );
}
