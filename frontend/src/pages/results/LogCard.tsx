import { RotateCw, ScrollText } from "lucide-react";

import { useLazyGetLogQuery } from "@/api";
import type { RunSummary } from "@/api";
import { Button, Card, CodeBlock, ErrorNote } from "@/components/ui";

const BYTES = 50_000;

/** The end of what the worker printed, when asked for. */
export function LogCard({ run }: { run: RunSummary }) {
  const [load, { currentData, error, isFetching }] = useLazyGetLogQuery();
  const show = () => void load({ run: run.id, bytes: BYTES });
  return (
    <Card
      title="Log"
      description="What the worker printed."
      actions={
        <Button size="sm" icon={currentData ? RotateCw : ScrollText} busy={isFetching} onClick={show}>
          {currentData ? "Read again" : "Show the log"}
        </Button>
      }
    >
      {error ? (
        <ErrorNote error={error} onRetry={show} />
      ) : currentData ? (
        currentData.text === "" ? (
          <p className="text-muted">It printed nothing.</p>
        ) : (
          <>
            {currentData.truncated && <p className="mb-2 text-xs text-muted">Earlier lines are left out.</p>}
            <CodeBlock text={currentData.text} label="log" wrap />
          </>
        )
      ) : (
        <p className="text-[0.8125rem] text-muted">
          Not loaded yet. While the run is running, Training shows it as it grows.
        </p>
      )}
    </Card>
  );
}
