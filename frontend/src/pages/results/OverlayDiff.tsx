import { useDiffRunsQuery } from "@/api";
import type { RunSummary } from "@/api";
import { LineSwatch } from "@/components/chart";
import { Card, ErrorNote, Note, Skeleton, Table, Td, Th } from "@/components/ui";
import { labelOf } from "@/features/form/labels";
import { settingText } from "@/features/form/settingText";
import { cx } from "@/lib/cx";

import { EDGES } from "./look";
import { lookAt, unlikeMeasures } from "./overlay";

/** The differing settings that keep the runs' losses from being compared; undefined until it is known. */
export function useUnlike(runs: readonly RunSummary[]): string[] | undefined {
  const { currentData } = useDiffRunsQuery({ run: runs.map((run) => run.id) }, { skip: runs.length < 2 });
  return currentData && unlikeMeasures(currentData);
}

/** Said where the runs' losses cannot be compared with one another. */
export function UnlikeNote({ settings }: { settings: readonly string[] }) {
  return (
    <Note tone="warn" title="These losses are not the same measurement.">
      The runs differ in: {settings.map(labelOf).join(", ")}. So their validation sets or tokens differ too. Each
      curve can be read by itself, but the losses do not say which run is better.
    </Note>
  );
}

/** Only the settings that differ. The adapters' names always do, and stand above anyway. */
export function OverlayDiff({ runs }: { runs: readonly RunSummary[] }) {
  const { currentData, error, refetch } = useDiffRunsQuery({ run: runs.map((run) => run.id) });
  const rows = currentData?.rows.filter((row) => row.name !== "adapter_name") ?? [];
  const place = (id: string) => runs.findIndex((run) => run.id === id);
  return (
    <Card
      title="Settings that differ"
      description={rows.length > 0 ? "Values that are those of the first run are grey." : undefined}
      flush={rows.length > 0}
    >
      {error ? (
        <ErrorNote error={error} onRetry={() => void refetch()} />
      ) : !currentData ? (
        <Skeleton className="h-24 w-full" />
      ) : rows.length === 0 ? (
        <p className="text-muted">None: these runs have the same settings.</p>
      ) : (
        <Table label="Settings by run" className={EDGES}>
          <thead>
            <tr>
              <Th>Setting</Th>
              {currentData.runs.map((id) => (
                <Th key={id}>
                  <span className="flex items-center gap-2 whitespace-normal">
                    <LineSwatch {...lookAt(Math.max(0, place(id)))} />
                    <span className="wrap-anywhere">{runs[place(id)]?.adapter ?? id}</span>
                  </span>
                </Th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.name}>
                <Td className="min-w-40">
                  {labelOf(row.name)}
                  <span className="block font-mono text-xs text-muted">{row.name}</span>
                </Td>
                {row.values.map((value, at) => (
                  <Td
                    key={currentData.runs[at] ?? at}
                    className={cx("min-w-24 wrap-anywhere", at > 0 && same(value, row.values[0]) && "text-muted")}
                  >
                    {settingText(value)}
                  </Td>
                ))}
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </Card>
  );
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
