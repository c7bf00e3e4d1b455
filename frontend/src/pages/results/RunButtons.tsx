import { Activity, Copy, Play, Square, Trash2, Zap } from "lucide-react";
import type { LucideIcon } from "lucide-react";
import { Link } from "react-router";

import type { RunSummary } from "@/api";
import { IconButton } from "@/components/ui";
import { cloneLink, setupName } from "@/lib/methods";
import { isActive } from "@/state/live";

import type { RunActions, Work } from "./actions";

/** A link that looks like an `IconButton`. */
function IconLink({ to, icon: Icon, label }: { to: string; icon: LucideIcon; label: string }) {
  return (
    <Link
      to={to}
      aria-label={label}
      title={label}
      className="inline-flex size-8 shrink-0 items-center justify-center rounded-md transition-colors hover:bg-sunken"
    >
      <Icon className="size-4" aria-hidden />
    </Link>
  );
}

interface Props {
  run: RunSummary;
  work: Work | undefined;
  actions: RunActions;
}

/** What can be done to a run in a list: only what its state allows. */
export function RunButtons({ run, work, actions }: Props) {
  const name = run.adapter || run.id;
  const stuck = run.state === "stalled" || run.state === "stopping";
  return (
    <div className="flex items-center justify-end">
      {isActive(run.state) && <IconLink to={`/training/${run.id}`} icon={Activity} label={`Watch ${name} live`} />}
      {run.can_resume && (
        <IconButton
          size="sm"
          icon={Play}
          label={run.state === "created" ? `Start ${name}` : `Resume ${name}`}
          busy={work === "resume"}
          onClick={() => actions.resume(run)}
        />
      )}
      {run.can_stop && run.state !== "stopping" && (
        <IconButton
          size="sm"
          icon={Square}
          label={run.state === "queued" ? `Remove ${name} from the queue` : `Stop ${name} with a checkpoint`}
          busy={work === "stop"}
          onClick={() => actions.stop(run)}
        />
      )}
      {run.can_stop && stuck && (
        <IconButton
          size="sm"
          icon={Zap}
          label={`Kill ${name} at once`}
          busy={work === "stop"}
          onClick={() => actions.kill(run)}
        />
      )}
      {run.state !== "unreadable" && (
        <IconLink to={cloneLink(run)} icon={Copy} label={`Clone ${name} into ${setupName(run.method)}`} />
      )}
      {!isActive(run.state) && (
        <IconButton
          size="sm"
          icon={Trash2}
          label={`Delete ${name}`}
          busy={work === "delete"}
          onClick={() => actions.remove(run)}
        />
      )}
    </div>
  );
}
