/** The client as pages use it: the generated endpoints, with what each one makes stale put right. */

import { api as generated } from "./generated";

export * from "./generated";
export { asApiError, errorOf } from "./errors";
export type { ApiError } from "./errors";

/** By default a mutation makes all of its tag stale; these change more than that, or nothing. */
export const api = generated.enhanceEndpoints({
  endpoints: {
    createRun: { invalidatesTags: ["runs", "queue"] },
    cloneRun: { invalidatesTags: ["runs", "queue"] },
    stopRun: { invalidatesTags: ["runs", "queue"] },
    resumeRun: { invalidatesTags: ["runs", "queue"] },
    deleteRun: { invalidatesTags: ["runs", "queue", "adapters"] },
    moveInQueue: { invalidatesTags: ["runs", "queue"] },
    cancelQueued: { invalidatesTags: ["runs", "queue"] },
    createExperiment: { invalidatesTags: ["experiments"] },
    startExperiment: { invalidatesTags: ["experiments"] },
    stopExperiment: { invalidatesTags: ["experiments"] },
    deleteExperiment: { invalidatesTags: ["experiments", "runs", "adapters"] },
    createExport: { invalidatesTags: ["jobs"] },
    planPush: { invalidatesTags: [] },
    pushExport: { invalidatesTags: ["jobs"] },
    parseYaml: { invalidatesTags: [] },
    checkData: { invalidatesTags: ["jobs"] },
    pullModel: { invalidatesTags: ["jobs"] },
    importModel: { invalidatesTags: ["jobs"] },
  },
});
