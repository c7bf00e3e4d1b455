import { useMemo } from "react";

import { useGetCurvesQuery } from "@/api";
import type { Curves, RunSummary } from "@/api";
import { isActive } from "@/state/live";

/** As many points as a wide screen shows, for lines and their extremes. */
const POINTS = 2000;
const POLL_MS = 3000;

function useOne(run: RunSummary | undefined) {
  return useGetCurvesQuery(
    { run: run?.id ?? "", points: POINTS },
    {
      skip: run === undefined,
      pollingInterval: run && isActive(run.state) ? POLL_MS : 0,
      refetchOnMountOrArgChange: true,
    },
  );
}

export interface ManyCurves {
  /** By the runs' places, as far as they are here; the same list until one of them changes. */
  curves: readonly (Curves | undefined)[];
  error: unknown;
  loading: boolean;
  retry: () => void;
}

/** The curves of up to eight runs; those at work are asked for again and again. */
export function useManyCurves(runs: readonly RunSummary[]): ManyCurves {
  // Hooks cannot be called in a loop of changing length, so there is one for each possible place.
  const a = useOne(runs[0]);
  const b = useOne(runs[1]);
  const c = useOne(runs[2]);
  const d = useOne(runs[3]);
  const e = useOne(runs[4]);
  const f = useOne(runs[5]);
  const g = useOne(runs[6]);
  const h = useOne(runs[7]);
  const found = [a, b, c, d, e, f, g, h].map((one) => one.currentData);
  const [a1, b1, c1, d1, e1, f1, g1, h1] = found;
  const curves = useMemo(() => [a1, b1, c1, d1, e1, f1, g1, h1], [a1, b1, c1, d1, e1, f1, g1, h1]);
  const asked = [a, b, c, d, e, f, g, h].slice(0, runs.length);
  return {
    curves,
    error: asked.find((one) => one.error)?.error,
    loading: asked.some((one) => one.isFetching && !one.currentData),
    retry: () => asked.forEach((one) => one.error && void one.refetch()),
  };
}
