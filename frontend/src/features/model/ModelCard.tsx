import { Box, TriangleAlert } from "lucide-react";
import { useState } from "react";

import { useListModelsQuery } from "@/api";
import type { ModelEntry, TargetsReport } from "@/api";
import { Badge, Button, Card, ErrorNote, Note, Skeleton, Stat, Stats } from "@/components/ui";
import { useSetting } from "@/features/form/form";
import type { Targets } from "@/features/form/queries";
import { bytes, compact, count, integer, shortName } from "@/lib/format";

import { ModelPicker, SOURCES } from "./ModelPicker";

function WhatItIs({ report, entry }: { report: TargetsReport; entry: ModelEntry | undefined }) {
  return (
    <div className="space-y-3">
      <Stats>
        <Stat label="Parameters" value={compact(report.parameters)} note={integer(report.parameters)} />
        <Stat
          label="Architecture"
          value={report.model_type}
          note={`${count(report.blocks, "block")}, width ${report.hidden_size ?? "–"}`}
        />
        <Stat label="Context" value={integer(report.context_length)} note="tokens at most" />
        <Stat
          label="Weights"
          value={report.quantization ?? "not quantised"}
          note={entry && entry.bytes > 0 ? `${bytes(entry.bytes)} on disk` : undefined}
        />
      </Stats>
      {report.code.length > 0 && (
        <Note tone="warn" title="This model's folder contains code. Droid FineTuning never runs it.">
          {report.code.join(", ")}
        </Note>
      )}
    </div>
  );
}

/** Which model, and what it is. */
export function ModelCard({ targets }: { targets: Targets }) {
  const bound = useSetting("model_path");
  const [choosing, setChoosing] = useState(false);
  const { data: models } = useListModelsQuery();
  if (!bound) return null;
  const ref = bound.text;
  const entry = models?.find((model) => model.ref === ref);
  const open = choosing || ref === "";
  return (
    <Card
      title="Model"
      icon={Box}
      description={open ? "The model to fine-tune. Its own files are never changed." : undefined}
      actions={
        ref !== "" && (
          <Button size="sm" onClick={() => setChoosing(!choosing)}>
            {choosing ? "Keep this model" : "Choose another"}
          </Button>
        )
      }
    >
      {!open && (
        <div className="space-y-4">
          <p className="flex flex-wrap items-center gap-2">
            <span className="font-semibold wrap-anywhere">{shortName(ref)}</span>
            {entry && <Badge>{SOURCES[entry.source]}</Badge>}
            {ref !== shortName(ref) && <span className="text-xs text-muted wrap-anywhere">{ref}</span>}
          </p>
          {targets.report ? (
            <WhatItIs report={targets.report} entry={entry} />
          ) : targets.error ? (
            <ErrorNote error={targets.error} onRetry={targets.refetch} />
          ) : (
            <Skeleton className="h-14" />
          )}
          {bound.problem !== null && (
            <p className="flex items-center gap-1.5 text-xs text-bad">
              <TriangleAlert className="size-3.5" aria-hidden />
              {bound.problem}
            </p>
          )}
        </div>
      )}
      {open && (
        <ModelPicker
          chosen={ref}
          onChoose={(model) => {
            bound.set(model);
            setChoosing(false);
          }}
        />
      )}
    </Card>
  );
}
