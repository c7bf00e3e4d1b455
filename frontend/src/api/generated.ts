import { baseApi as api } from "./base";
export const addTagTypes = [
  "system",
  "runs",
  "queue",
  "settings",
  "methods",
  "rewards",
  "inference",
  "openai",
  "models",
  "adapters",
  "exports",
  "data",
  "jobs",
  "experiments",
] as const;
const injectedRtkApi = api
  .enhanceEndpoints({
    addTagTypes,
  })
  .injectEndpoints({
    endpoints: (build) => ({
      getHealth: build.query<GetHealthApiResponse, GetHealthApiArg>({
        query: () => ({ url: `/api/health` }),
        providesTags: ["system"],
      }),
      getSystem: build.query<GetSystemApiResponse, GetSystemApiArg>({
        query: () => ({ url: `/api/system` }),
        providesTags: ["system"],
      }),
      login: build.mutation<LoginApiResponse, LoginApiArg>({
        query: (queryArg) => ({
          url: `/api/login`,
          method: "POST",
          body: queryArg.login,
        }),
        invalidatesTags: ["system"],
      }),
      logout: build.mutation<LogoutApiResponse, LogoutApiArg>({
        query: () => ({ url: `/api/logout`, method: "POST" }),
        invalidatesTags: ["system"],
      }),
      launch: build.mutation<LaunchApiResponse, LaunchApiArg>({
        query: () => ({ url: `/api/launch`, method: "POST" }),
        invalidatesTags: ["system"],
      }),
      listRuns: build.query<ListRunsApiResponse, ListRunsApiArg>({
        query: () => ({ url: `/api/runs` }),
        providesTags: ["runs"],
      }),
      createRun: build.mutation<CreateRunApiResponse, CreateRunApiArg>({
        query: (queryArg) => ({
          url: `/api/runs`,
          method: "POST",
          body: queryArg.trainingConfig,
          headers: {
            "Idempotency-Key": queryArg["Idempotency-Key"],
          },
        }),
        invalidatesTags: ["runs"],
      }),
      getRun: build.query<GetRunApiResponse, GetRunApiArg>({
        query: (queryArg) => ({
          url: `/api/runs/${encodeURIComponent(String(queryArg.run))}`,
        }),
        providesTags: ["runs"],
      }),
      deleteRun: build.mutation<DeleteRunApiResponse, DeleteRunApiArg>({
        query: (queryArg) => ({
          url: `/api/runs/${encodeURIComponent(String(queryArg.run))}`,
          method: "DELETE",
          params: {
            files: queryArg.files,
          },
        }),
        invalidatesTags: ["runs"],
      }),
      stopRun: build.mutation<StopRunApiResponse, StopRunApiArg>({
        query: (queryArg) => ({
          url: `/api/runs/${encodeURIComponent(String(queryArg.run))}/stop`,
          method: "POST",
          body: queryArg.stopRequest,
        }),
        invalidatesTags: ["runs"],
      }),
      resumeRun: build.mutation<ResumeRunApiResponse, ResumeRunApiArg>({
        query: (queryArg) => ({
          url: `/api/runs/${encodeURIComponent(String(queryArg.run))}/resume`,
          method: "POST",
          body: queryArg.request,
        }),
        invalidatesTags: ["runs"],
      }),
      cloneRun: build.mutation<CloneRunApiResponse, CloneRunApiArg>({
        query: (queryArg) => ({
          url: `/api/runs/${encodeURIComponent(String(queryArg.run))}/clone`,
          method: "POST",
          body: queryArg.runClone,
          headers: {
            "Idempotency-Key": queryArg["Idempotency-Key"],
          },
        }),
        invalidatesTags: ["runs"],
      }),
      getEvents: build.query<GetEventsApiResponse, GetEventsApiArg>({
        query: (queryArg) => ({
          url: `/api/runs/${encodeURIComponent(String(queryArg.run))}/events`,
          params: {
            after: queryArg.after,
            limit: queryArg.limit,
          },
        }),
        providesTags: ["runs"],
      }),
      getCurves: build.query<GetCurvesApiResponse, GetCurvesApiArg>({
        query: (queryArg) => ({
          url: `/api/runs/${encodeURIComponent(String(queryArg.run))}/curves`,
          params: {
            points: queryArg.points,
          },
        }),
        providesTags: ["runs"],
      }),
      getCompletions: build.query<
        GetCompletionsApiResponse,
        GetCompletionsApiArg
      >({
        query: (queryArg) => ({
          url: `/api/runs/${encodeURIComponent(String(queryArg.run))}/completions`,
          params: {
            step: queryArg.step,
          },
        }),
        providesTags: ["runs"],
      }),
      getLog: build.query<GetLogApiResponse, GetLogApiArg>({
        query: (queryArg) => ({
          url: `/api/runs/${encodeURIComponent(String(queryArg.run))}/log`,
          params: {
            bytes: queryArg.bytes,
          },
        }),
        providesTags: ["runs"],
      }),
      getReport: build.query<GetReportApiResponse, GetReportApiArg>({
        query: (queryArg) => ({
          url: `/api/runs/${encodeURIComponent(String(queryArg.run))}/report.html`,
        }),
        providesTags: ["runs"],
      }),
      exportRun: build.query<ExportRunApiResponse, ExportRunApiArg>({
        query: (queryArg) => ({
          url: `/api/runs/${encodeURIComponent(String(queryArg.run))}/export.json`,
        }),
        providesTags: ["runs"],
      }),
      diffRuns: build.query<DiffRunsApiResponse, DiffRunsApiArg>({
        query: (queryArg) => ({
          url: `/api/diff`,
          params: {
            run: queryArg.run,
          },
        }),
        providesTags: ["runs"],
      }),
      getQueue: build.query<GetQueueApiResponse, GetQueueApiArg>({
        query: () => ({ url: `/api/queue` }),
        providesTags: ["queue"],
      }),
      moveInQueue: build.mutation<MoveInQueueApiResponse, MoveInQueueApiArg>({
        query: (queryArg) => ({
          url: `/api/queue/${encodeURIComponent(String(queryArg.run))}/move`,
          method: "POST",
          body: queryArg.queueMove,
        }),
        invalidatesTags: ["queue"],
      }),
      cancelQueued: build.mutation<CancelQueuedApiResponse, CancelQueuedApiArg>(
        {
          query: (queryArg) => ({
            url: `/api/queue/${encodeURIComponent(String(queryArg.run))}`,
            method: "DELETE",
          }),
          invalidatesTags: ["queue"],
        },
      ),
      getSettings: build.query<GetSettingsApiResponse, GetSettingsApiArg>({
        query: () => ({ url: `/api/settings` }),
        providesTags: ["settings"],
      }),
      checkDraft: build.query<CheckDraftApiResponse, CheckDraftApiArg>({
        query: (queryArg) => ({
          url: `/api/settings/check`,
          method: "POST",
          body: queryArg.draft,
        }),
        providesTags: ["settings"],
      }),
      parseYaml: build.mutation<ParseYamlApiResponse, ParseYamlApiArg>({
        query: (queryArg) => ({
          url: `/api/settings/parse`,
          method: "POST",
          body: queryArg.yamlText,
        }),
        invalidatesTags: ["settings"],
      }),
      getMethods: build.query<GetMethodsApiResponse, GetMethodsApiArg>({
        query: () => ({ url: `/api/methods` }),
        providesTags: ["methods"],
      }),
      getRewards: build.query<GetRewardsApiResponse, GetRewardsApiArg>({
        query: () => ({ url: `/api/rewards` }),
        providesTags: ["rewards"],
      }),
      tryRewards: build.mutation<TryRewardsApiResponse, TryRewardsApiArg>({
        query: (queryArg) => ({
          url: `/api/rewards/try`,
          method: "POST",
          body: queryArg.tryRequest,
        }),
        invalidatesTags: ["rewards"],
      }),
      postApiModelsInference: build.mutation<
        PostApiModelsInferenceApiResponse,
        PostApiModelsInferenceApiArg
      >({
        query: (queryArg) => ({
          url: `/api/models/inference`,
          method: "POST",
          body: queryArg.inferenceRequest,
        }),
        invalidatesTags: ["inference"],
      }),
      compareStream: build.mutation<
        CompareStreamApiResponse,
        CompareStreamApiArg
      >({
        query: (queryArg) => ({
          url: `/api/models/inference/stream`,
          method: "POST",
          body: queryArg.compareRequest,
        }),
        invalidatesTags: ["inference"],
      }),
      getInference: build.query<GetInferenceApiResponse, GetInferenceApiArg>({
        query: () => ({ url: `/api/inference` }),
        providesTags: ["inference"],
      }),
      unloadModel: build.mutation<UnloadModelApiResponse, UnloadModelApiArg>({
        query: () => ({ url: `/api/inference`, method: "DELETE" }),
        invalidatesTags: ["inference"],
      }),
      getShares: build.query<GetSharesApiResponse, GetSharesApiArg>({
        query: (queryArg) => ({
          url: `/api/votes/shares`,
          params: {
            wins: queryArg.wins,
          },
        }),
        providesTags: ["inference"],
      }),
      listServedModels: build.query<
        ListServedModelsApiResponse,
        ListServedModelsApiArg
      >({
        query: () => ({ url: `/v1/models` }),
        providesTags: ["openai"],
      }),
      getServedModel: build.query<
        GetServedModelApiResponse,
        GetServedModelApiArg
      >({
        query: (queryArg) => ({
          url: `/v1/models/${encodeURIComponent(String(queryArg.model))}`,
        }),
        providesTags: ["openai"],
      }),
      createChatCompletion: build.mutation<
        CreateChatCompletionApiResponse,
        CreateChatCompletionApiArg
      >({
        query: (queryArg) => ({
          url: `/v1/chat/completions`,
          method: "POST",
          body: queryArg.chatRequest,
        }),
        invalidatesTags: ["openai"],
      }),
      createCompletion: build.mutation<
        CreateCompletionApiResponse,
        CreateCompletionApiArg
      >({
        query: (queryArg) => ({
          url: `/v1/completions`,
          method: "POST",
          body: queryArg.completionRequest,
        }),
        invalidatesTags: ["openai"],
      }),
      listModels: build.query<ListModelsApiResponse, ListModelsApiArg>({
        query: () => ({ url: `/api/models` }),
        providesTags: ["models"],
      }),
      pullModel: build.mutation<PullModelApiResponse, PullModelApiArg>({
        query: (queryArg) => ({
          url: `/api/models/pull`,
          method: "POST",
          body: queryArg.modelPull,
        }),
        invalidatesTags: ["models"],
      }),
      importModel: build.mutation<ImportModelApiResponse, ImportModelApiArg>({
        query: (queryArg) => ({
          url: `/api/models/import`,
          method: "POST",
          body: queryArg.modelImport,
        }),
        invalidatesTags: ["models"],
      }),
      getTargets: build.query<GetTargetsApiResponse, GetTargetsApiArg>({
        query: (queryArg) => ({
          url: `/api/models/${encodeURIComponent(String(queryArg.model))}/targets`,
          params: {
            rank: queryArg.rank,
            batch_size: queryArg.batchSize,
            seq_length: queryArg.seqLength,
            num_layers: queryArg.numLayers,
            routers: queryArg.routers,
            optimizer: queryArg.optimizer,
            keys: queryArg.keys,
            grad_checkpoint: queryArg.gradCheckpoint,
            dora: queryArg.dora,
          },
        }),
        providesTags: ["models"],
      }),
      listAdapters: build.query<ListAdaptersApiResponse, ListAdaptersApiArg>({
        query: () => ({ url: `/api/adapters` }),
        providesTags: ["adapters"],
      }),
      getAdapter: build.query<GetAdapterApiResponse, GetAdapterApiArg>({
        query: (queryArg) => ({
          url: `/api/adapters/${encodeURIComponent(String(queryArg.name))}`,
          params: {
            which: queryArg.which,
            model: queryArg.model,
          },
        }),
        providesTags: ["adapters"],
      }),
      deleteAdapter: build.mutation<
        DeleteAdapterApiResponse,
        DeleteAdapterApiArg
      >({
        query: (queryArg) => ({
          url: `/api/adapters/${encodeURIComponent(String(queryArg.name))}`,
          method: "DELETE",
        }),
        invalidatesTags: ["adapters"],
      }),
      downloadAdapter: build.query<
        DownloadAdapterApiResponse,
        DownloadAdapterApiArg
      >({
        query: (queryArg) => ({
          url: `/api/adapters/${encodeURIComponent(String(queryArg.name))}/download`,
          params: {
            which: queryArg.which,
          },
        }),
        providesTags: ["adapters"],
      }),
      listExportForms: build.query<
        ListExportFormsApiResponse,
        ListExportFormsApiArg
      >({
        query: () => ({ url: `/api/export-forms` }),
        providesTags: ["exports"],
      }),
      listExports: build.query<ListExportsApiResponse, ListExportsApiArg>({
        query: () => ({ url: `/api/exports` }),
        providesTags: ["exports"],
      }),
      createExport: build.mutation<CreateExportApiResponse, CreateExportApiArg>(
        {
          query: (queryArg) => ({
            url: `/api/exports`,
            method: "POST",
            body: queryArg.exportRequest,
          }),
          invalidatesTags: ["exports"],
        },
      ),
      planExport: build.query<PlanExportApiResponse, PlanExportApiArg>({
        query: (queryArg) => ({
          url: `/api/export-plan`,
          method: "POST",
          body: queryArg.exportRequest,
        }),
        providesTags: ["exports"],
      }),
      getExport: build.query<GetExportApiResponse, GetExportApiArg>({
        query: (queryArg) => ({
          url: `/api/exports/${encodeURIComponent(String(queryArg.name))}`,
        }),
        providesTags: ["exports"],
      }),
      deleteExport: build.mutation<DeleteExportApiResponse, DeleteExportApiArg>(
        {
          query: (queryArg) => ({
            url: `/api/exports/${encodeURIComponent(String(queryArg.name))}`,
            method: "DELETE",
          }),
          invalidatesTags: ["exports"],
        },
      ),
      downloadExport: build.query<
        DownloadExportApiResponse,
        DownloadExportApiArg
      >({
        query: (queryArg) => ({
          url: `/api/exports/${encodeURIComponent(String(queryArg.name))}/archive`,
        }),
        providesTags: ["exports"],
      }),
      planPush: build.mutation<PlanPushApiResponse, PlanPushApiArg>({
        query: (queryArg) => ({
          url: `/api/exports/${encodeURIComponent(String(queryArg.name))}/push-plan`,
          method: "POST",
          body: queryArg.pushRequest,
        }),
        invalidatesTags: ["exports"],
      }),
      pushExport: build.mutation<PushExportApiResponse, PushExportApiArg>({
        query: (queryArg) => ({
          url: `/api/exports/${encodeURIComponent(String(queryArg.name))}/push`,
          method: "POST",
          body: queryArg.agreedPush,
        }),
        invalidatesTags: ["exports"],
      }),
      listData: build.query<ListDataApiResponse, ListDataApiArg>({
        query: () => ({ url: `/api/data` }),
        providesTags: ["data"],
      }),
      uploadData: build.mutation<UploadDataApiResponse, UploadDataApiArg>({
        query: (queryArg) => ({
          url: `/api/data/files/${encodeURIComponent(String(queryArg.name))}`,
          method: "PUT",
          body: queryArg.body,
        }),
        invalidatesTags: ["data"],
      }),
      deleteData: build.mutation<DeleteDataApiResponse, DeleteDataApiArg>({
        query: (queryArg) => ({
          url: `/api/data/files/${encodeURIComponent(String(queryArg.name))}`,
          method: "DELETE",
        }),
        invalidatesTags: ["data"],
      }),
      makeExample: build.mutation<MakeExampleApiResponse, MakeExampleApiArg>({
        query: () => ({ url: `/api/data/example`, method: "POST" }),
        invalidatesTags: ["data"],
      }),
      checkData: build.mutation<CheckDataApiResponse, CheckDataApiArg>({
        query: (queryArg) => ({
          url: `/api/data/check`,
          method: "POST",
          body: queryArg.dataSettings,
        }),
        invalidatesTags: ["data"],
      }),
      viewRows: build.query<ViewRowsApiResponse, ViewRowsApiArg>({
        query: (queryArg) => ({
          url: `/api/data/view`,
          method: "POST",
          body: queryArg.viewRequest,
        }),
        providesTags: ["data"],
      }),
      listJobs: build.query<ListJobsApiResponse, ListJobsApiArg>({
        query: () => ({ url: `/api/jobs` }),
        providesTags: ["jobs"],
      }),
      getJob: build.query<GetJobApiResponse, GetJobApiArg>({
        query: (queryArg) => ({
          url: `/api/jobs/${encodeURIComponent(String(queryArg.job))}`,
        }),
        providesTags: ["jobs"],
      }),
      cancelJob: build.mutation<CancelJobApiResponse, CancelJobApiArg>({
        query: (queryArg) => ({
          url: `/api/jobs/${encodeURIComponent(String(queryArg.job))}`,
          method: "DELETE",
        }),
        invalidatesTags: ["jobs"],
      }),
      listExperiments: build.query<
        ListExperimentsApiResponse,
        ListExperimentsApiArg
      >({
        query: () => ({ url: `/api/experiments` }),
        providesTags: ["experiments"],
      }),
      createExperiment: build.mutation<
        CreateExperimentApiResponse,
        CreateExperimentApiArg
      >({
        query: (queryArg) => ({
          url: `/api/experiments`,
          method: "POST",
          body: queryArg.planRequest,
        }),
        invalidatesTags: ["experiments"],
      }),
      getExperiment: build.query<GetExperimentApiResponse, GetExperimentApiArg>(
        {
          query: (queryArg) => ({
            url: `/api/experiments/${encodeURIComponent(String(queryArg.experiment))}`,
          }),
          providesTags: ["experiments"],
        },
      ),
      deleteExperiment: build.mutation<
        DeleteExperimentApiResponse,
        DeleteExperimentApiArg
      >({
        query: (queryArg) => ({
          url: `/api/experiments/${encodeURIComponent(String(queryArg.experiment))}`,
          method: "DELETE",
        }),
        invalidatesTags: ["experiments"],
      }),
      startExperiment: build.mutation<
        StartExperimentApiResponse,
        StartExperimentApiArg
      >({
        query: (queryArg) => ({
          url: `/api/experiments/${encodeURIComponent(String(queryArg.experiment))}/start`,
          method: "POST",
        }),
        invalidatesTags: ["experiments"],
      }),
      stopExperiment: build.mutation<
        StopExperimentApiResponse,
        StopExperimentApiArg
      >({
        query: (queryArg) => ({
          url: `/api/experiments/${encodeURIComponent(String(queryArg.experiment))}/stop`,
          method: "POST",
        }),
        invalidatesTags: ["experiments"],
      }),
      getExperimentReport: build.query<
        GetExperimentReportApiResponse,
        GetExperimentReportApiArg
      >({
        query: (queryArg) => ({
          url: `/api/experiments/${encodeURIComponent(String(queryArg.experiment))}/report`,
          params: {
            form: queryArg.form,
          },
        }),
        providesTags: ["experiments"],
      }),
    }),
    overrideExisting: false,
  });
export { injectedRtkApi as api };
export type GetHealthApiResponse = /** status 200 Successful Response */ Health;
export type GetHealthApiArg = void;
export type GetSystemApiResponse =
  /** status 200 Successful Response */ SystemReport;
export type GetSystemApiArg = void;
export type LoginApiResponse = unknown;
export type LoginApiArg = {
  login: Login;
};
export type LogoutApiResponse = unknown;
export type LogoutApiArg = void;
export type LaunchApiResponse = /** status 200 Successful Response */ Launch;
export type LaunchApiArg = void;
export type ListRunsApiResponse =
  /** status 200 Successful Response */ RunSummary[];
export type ListRunsApiArg = void;
export type CreateRunApiResponse =
  /** status 201 Successful Response */ RunSummary;
export type CreateRunApiArg = {
  /** Requests with the same key make one run. */
  "Idempotency-Key"?: string;
  trainingConfig: TrainingConfig;
};
export type GetRunApiResponse = /** status 200 Successful Response */ RunDetail;
export type GetRunApiArg = {
  /** Id of the run. */
  run: string;
};
export type DeleteRunApiResponse = unknown;
export type DeleteRunApiArg = {
  /** Id of the run. */
  run: string;
  files?: boolean;
};
export type StopRunApiResponse =
  /** status 200 Successful Response */ RunSummary;
export type StopRunApiArg = {
  /** Id of the run. */
  run: string;
  stopRequest: StopRequest;
};
export type ResumeRunApiResponse =
  /** status 200 Successful Response */ RunSummary;
export type ResumeRunApiArg = {
  /** Id of the run. */
  run: string;
  request: RunResume | null;
};
export type CloneRunApiResponse =
  /** status 201 Successful Response */ RunSummary;
export type CloneRunApiArg = {
  /** Id of the run. */
  run: string;
  /** Requests with the same key make one run. */
  "Idempotency-Key"?: string;
  runClone: RunClone;
};
export type GetEventsApiResponse = /** status 200 Successful Response */ Events;
export type GetEventsApiArg = {
  /** Id of the run. */
  run: string;
  after?: number;
  limit?: number;
};
export type GetCurvesApiResponse = /** status 200 Successful Response */ Curves;
export type GetCurvesApiArg = {
  /** Id of the run. */
  run: string;
  points?: number;
};
export type GetCompletionsApiResponse =
  /** status 200 Successful Response */ CompletionsView;
export type GetCompletionsApiArg = {
  /** Id of the run. */
  run: string;
  step?: number | null;
};
export type GetLogApiResponse = /** status 200 Successful Response */ LogText;
export type GetLogApiArg = {
  /** Id of the run. */
  run: string;
  bytes?: number;
};
export type GetReportApiResponse = unknown;
export type GetReportApiArg = {
  /** Id of the run. */
  run: string;
};
export type ExportRunApiResponse = unknown;
export type ExportRunApiArg = {
  /** Id of the run. */
  run: string;
};
export type DiffRunsApiResponse =
  /** status 200 Successful Response */ ConfigDiff;
export type DiffRunsApiArg = {
  run: string[];
};
export type GetQueueApiResponse =
  /** status 200 Successful Response */ QueueView;
export type GetQueueApiArg = void;
export type MoveInQueueApiResponse =
  /** status 200 Successful Response */ QueueView;
export type MoveInQueueApiArg = {
  /** Id of the run. */
  run: string;
  queueMove: QueueMove;
};
export type CancelQueuedApiResponse =
  /** status 200 Successful Response */ QueueView;
export type CancelQueuedApiArg = {
  /** Id of the run. */
  run: string;
};
export type GetSettingsApiResponse =
  /** status 200 Successful Response */ Settings;
export type GetSettingsApiArg = void;
export type CheckDraftApiResponse =
  /** status 200 Successful Response */ DraftReport;
export type CheckDraftApiArg = {
  draft: Draft;
};
export type ParseYamlApiResponse =
  /** status 200 Successful Response */ ParsedSettings;
export type ParseYamlApiArg = {
  yamlText: YamlText;
};
export type GetMethodsApiResponse =
  /** status 200 Successful Response */ Methods;
export type GetMethodsApiArg = void;
export type GetRewardsApiResponse =
  /** status 200 Successful Response */ Rewards;
export type GetRewardsApiArg = void;
export type TryRewardsApiResponse = /** status 202 Successful Response */ Job;
export type TryRewardsApiArg = {
  tryRequest: TryRequest;
};
export type PostApiModelsInferenceApiResponse =
  /** status 200 Successful Response */ InferenceAnswer;
export type PostApiModelsInferenceApiArg = {
  inferenceRequest: InferenceRequest;
};
export type CompareStreamApiResponse = unknown;
export type CompareStreamApiArg = {
  compareRequest: CompareRequest;
};
export type GetInferenceApiResponse =
  /** status 200 Successful Response */ InferenceState;
export type GetInferenceApiArg = void;
export type UnloadModelApiResponse =
  /** status 200 Successful Response */ InferenceState;
export type UnloadModelApiArg = void;
export type GetSharesApiResponse = /** status 200 Successful Response */ Shares;
export type GetSharesApiArg = {
  wins: number[];
};
export type ListServedModelsApiResponse =
  /** status 200 Successful Response */ ServedModels;
export type ListServedModelsApiArg = void;
export type GetServedModelApiResponse =
  /** status 200 Successful Response */ ServedModel;
export type GetServedModelApiArg = {
  model: string;
};
export type CreateChatCompletionApiResponse =
  /** status 200 Successful Response */ ChatCompletion;
export type CreateChatCompletionApiArg = {
  chatRequest: ChatRequest;
};
export type CreateCompletionApiResponse =
  /** status 200 Successful Response */ Completion;
export type CreateCompletionApiArg = {
  completionRequest: CompletionRequest;
};
export type ListModelsApiResponse =
  /** status 200 Successful Response */ ModelEntry[];
export type ListModelsApiArg = void;
export type PullModelApiResponse = /** status 202 Successful Response */ Job;
export type PullModelApiArg = {
  modelPull: ModelPull;
};
export type ImportModelApiResponse = /** status 202 Successful Response */ Job;
export type ImportModelApiArg = {
  modelImport: ModelImport;
};
export type GetTargetsApiResponse =
  /** status 200 Successful Response */ TargetsReport;
export type GetTargetsApiArg = {
  /** Name, hub id, or allowed folder. */
  model: string;
  rank?: number;
  batchSize?: number;
  seqLength?: number;
  numLayers?: number;
  routers?: LoraRouters;
  optimizer?: Optimizer;
  keys?: string[] | null;
  gradCheckpoint?: boolean;
  dora?: boolean;
};
export type ListAdaptersApiResponse =
  /** status 200 Successful Response */ AdapterEntry[];
export type ListAdaptersApiArg = void;
export type GetAdapterApiResponse =
  /** status 200 Successful Response */ AdapterReport;
export type GetAdapterApiArg = {
  /** Name of the adapter. */
  name: string;
  which?: string | null;
  model?: string | null;
};
export type DeleteAdapterApiResponse = unknown;
export type DeleteAdapterApiArg = {
  /** Name of the adapter. */
  name: string;
};
export type DownloadAdapterApiResponse =
  /** status 200 Successful Response */ Blob;
export type DownloadAdapterApiArg = {
  /** Name of the adapter. */
  name: string;
  which?: string | null;
};
export type ListExportFormsApiResponse =
  /** status 200 Successful Response */ FormFacts[];
export type ListExportFormsApiArg = void;
export type ListExportsApiResponse =
  /** status 200 Successful Response */ ExportEntry[];
export type ListExportsApiArg = void;
export type CreateExportApiResponse = /** status 202 Successful Response */ Job;
export type CreateExportApiArg = {
  exportRequest: ExportRequest;
};
export type PlanExportApiResponse =
  /** status 200 Successful Response */ ExportPlan;
export type PlanExportApiArg = {
  exportRequest: ExportRequest;
};
export type GetExportApiResponse =
  /** status 200 Successful Response */ ExportEntry;
export type GetExportApiArg = {
  /** Name of the export. */
  name: string;
};
export type DeleteExportApiResponse = unknown;
export type DeleteExportApiArg = {
  /** Name of the export. */
  name: string;
};
export type DownloadExportApiResponse =
  /** status 200 Successful Response */ Blob;
export type DownloadExportApiArg = {
  /** Name of the export. */
  name: string;
};
export type PlanPushApiResponse =
  /** status 200 Successful Response */ PushPlan;
export type PlanPushApiArg = {
  /** Name of the export. */
  name: string;
  pushRequest: PushRequest;
};
export type PushExportApiResponse = /** status 202 Successful Response */ Job;
export type PushExportApiArg = {
  /** Name of the export. */
  name: string;
  agreedPush: AgreedPush;
};
export type ListDataApiResponse =
  /** status 200 Successful Response */ DataFile[];
export type ListDataApiArg = void;
export type UploadDataApiResponse =
  /** status 201 Successful Response */ DataFile;
export type UploadDataApiArg = {
  /** Name of the file in the home folder. */
  name: string;
  body: Blob;
};
export type DeleteDataApiResponse = unknown;
export type DeleteDataApiArg = {
  /** Name of the file in the home folder. */
  name: string;
};
export type MakeExampleApiResponse =
  /** status 200 Successful Response */ ParsedSettings;
export type MakeExampleApiArg = void;
export type CheckDataApiResponse = /** status 202 Successful Response */ Job;
export type CheckDataApiArg = {
  dataSettings: DataSettings;
};
export type ViewRowsApiResponse =
  /** status 200 Successful Response */ RowViews;
export type ViewRowsApiArg = {
  viewRequest: ViewRequest;
};
export type ListJobsApiResponse = /** status 200 Successful Response */ Job[];
export type ListJobsApiArg = void;
export type GetJobApiResponse = /** status 200 Successful Response */ Job;
export type GetJobApiArg = {
  /** Id of the job. */
  job: string;
};
export type CancelJobApiResponse = /** status 200 Successful Response */ Job;
export type CancelJobApiArg = {
  /** Id of the job. */
  job: string;
};
export type ListExperimentsApiResponse =
  /** status 200 Successful Response */ ExperimentSummary[];
export type ListExperimentsApiArg = void;
export type CreateExperimentApiResponse =
  /** status 201 Successful Response */ ExperimentSummary;
export type CreateExperimentApiArg = {
  planRequest: PlanRequest;
};
export type GetExperimentApiResponse =
  /** status 200 Successful Response */ ExperimentDetail;
export type GetExperimentApiArg = {
  /** Id of the experiment. */
  experiment: string;
};
export type DeleteExperimentApiResponse = unknown;
export type DeleteExperimentApiArg = {
  /** Id of the experiment. */
  experiment: string;
};
export type StartExperimentApiResponse =
  /** status 200 Successful Response */ ExperimentSummary;
export type StartExperimentApiArg = {
  /** Id of the experiment. */
  experiment: string;
};
export type StopExperimentApiResponse =
  /** status 200 Successful Response */ ExperimentSummary;
export type StopExperimentApiArg = {
  /** Id of the experiment. */
  experiment: string;
};
export type GetExperimentReportApiResponse =
  /** status 200 The report. */ string;
export type GetExperimentReportApiArg = {
  /** Id of the experiment. */
  experiment: string;
  form?: Form2;
};
export type Health = {
  status?: "ok";
  version: string;
};
export type ErrorBody = {
  code: string;
  message: string;
  /** What to do about it; may be empty. */
  hint: string;
  /** The setting or parameter at fault. */
  field: string | null;
};
export type ErrorAnswer = {
  error: ErrorBody;
};
export type Finding = {
  name: string;
  value: string;
  /** How to fix it; empty when nothing is wrong. */
  fix: string;
};
export type SystemReport = {
  ok: boolean;
  findings: Finding[];
  versions: {
    [key: string]: string;
  };
  device: {
    [key: string]: unknown;
  };
  gflops: number;
  home: string;
  memory_total: number;
  memory_available: number;
  disk_free: number;
  /** Folders from which data files and models may be taken. */
  roots: string[];
};
export type Login = {
  token: string;
};
export type Launch = {
  url: string;
};
export type RunState =
  | "created"
  | "queued"
  | "running"
  | "stopping"
  | "stalled"
  | "stopped"
  | "finished"
  | "failed"
  | "crashed"
  | "unreadable";
export type Problem = {
  code: string;
  message: string;
  hint: string;
  /** Such as `SIGKILL`, when a signal ended the worker. */
  signal?: string | null;
  /** Last lines of the worker's log. */
  log_tail?: string[];
};
export type RunSummary = {
  id: string;
  state: RunState;
  /** As the configuration gives it: a name, a hub id or a path. */
  model: string;
  model_name: string;
  /** One of `Method`; empty where the folder cannot be read. */
  method: string;
  fine_tune_type: string;
  targets: string;
  rank: number;
  learning_rate: number;
  train_data: string;
  adapter: string;
  created: number;
  started: number | null;
  ended: number | null;
  /** Time of its last event or heartbeat. */
  heard: number | null;
  phase: string | null;
  step: number;
  steps: number | null;
  epoch: number;
  loss: number | null;
  /** Validation loss before the first step. */
  first_loss: number | null;
  last_eval_loss: number | null;
  best_loss: number | null;
  best_step: number | null;
  tokens_per_second: number | null;
  peak_memory: number | null;
  /** How long it has trained, resumptions added up. */
  seconds: number | null;
  seconds_left: number | null;
  trainable: number | null;
  total: number | null;
  /** Step of the newest checkpoint: where a resumed run continues. */
  checkpoint_step: number | null;
  can_resume: boolean;
  can_stop: boolean;
  /** From 0, when it waits. */
  queue_position: number | null;
  problem: Problem | null;
  /** At most 40 training losses, evenly spread over the run; mean rewards, of methods that have rewards. */
  sparkline: number[];
  /** Mean reward of the newest training report; this and what follows is null for other methods. */
  reward: number | null;
  /** Of validation prompts, before the first step. */
  first_reward: number | null;
  last_eval_reward: number | null;
  /** At `best_step`. */
  best_reward: number | null;
};
export type Method = "sft" | "grpo" | "gspo" | "dr_grpo" | "dpo" | "orpo";
export type Validation = "auto" | "none";
export type SplitBy = "row" | "conversation";
export type DataFormat =
  "auto" | "text" | "completion" | "instruction" | "chat" | "sharegpt";
export type SystemRole = "auto" | "fold" | "refuse";
export type TrainOn = "all-turns" | "last-turn";
export type LongRows = "cut" | "split" | "refuse";
export type Optimizer = "adamw" | "adam" | "sgd" | "lion";
export type LrSchedule = "constant" | "linear" | "cosine";
export type FineTuneType = "lora" | "dora" | "full";
export type LoraTargets =
  "full-layer" | "attention-qv" | "attention" | "mlp" | "all-linear" | "custom";
export type LoraRouters = "auto" | "on" | "off";
export type LoraScaling = "standard" | "rslora" | "raw";
export type ExactAnswer = {
  /** Factor on this reward in the sum; below zero it is a penalty. */
  weight?: number;
  /** What it is called in reports, for two rewards of one kind. Default: its kind. */
  label?: string | null;
  /** Column of the row that holds the reference answer, or a list of answers of which the best counts. */
  column?: string;
  /** Look only inside the last `<tag>…</tag>` of the completion, such as `answer`; without one, it scores 0. */
  tag?: string | null;
  kind?: "exact_answer";
  /** What stands before the answer, such as `Answer:`; the answer is the rest of the last line that holds it. */
  after?: string | null;
};
export type KeywordCoverage = {
  /** Factor on this reward in the sum; below zero it is a penalty. */
  weight?: number;
  /** What it is called in reports, for two rewards of one kind. Default: its kind. */
  label?: string | null;
  kind?: "keyword_coverage";
  /** Words or phrases to look for, the same for every row. */
  keywords?: string[];
  /** Column of the row that holds its own keywords, as a list or separated by commas. */
  column?: string | null;
  /** A keyword counts only where no letter or digit touches it; turn off for languages without spaces. */
  whole_words?: boolean;
};
export type LengthWindow = {
  /** Factor on this reward in the sum; below zero it is a penalty. */
  weight?: number;
  /** What it is called in reports, for two rewards of one kind. Default: its kind. */
  label?: string | null;
  kind?: "length_window";
  /** Shortest length that earns 1. */
  minimum?: number;
  /** Longest length that earns 1. */
  maximum?: number;
  /** What is counted; words are what white space separates. */
  unit?: "words" | "characters" | "tokens";
  /** How far outside the window the reward reaches 0; 0 is at once. */
  falloff?: number;
};
export type LexicalF1 = {
  /** Factor on this reward in the sum; below zero it is a penalty. */
  weight?: number;
  /** What it is called in reports, for two rewards of one kind. Default: its kind. */
  label?: string | null;
  /** Column of the row that holds the reference answer, or a list of answers of which the best counts. */
  column?: string;
  /** Look only inside the last `<tag>…</tag>` of the completion, such as `answer`; without one, it scores 0. */
  tag?: string | null;
  kind?: "lexical_f1";
};
export type NumericAnswer = {
  /** Factor on this reward in the sum; below zero it is a penalty. */
  weight?: number;
  /** What it is called in reports, for two rewards of one kind. Default: its kind. */
  label?: string | null;
  /** Column of the row that holds the reference answer, or a list of answers of which the best counts. */
  column?: string;
  /** Look only inside the last `<tag>…</tag>` of the completion, such as `answer`; without one, it scores 0. */
  tag?: string | null;
  kind?: "numeric_answer";
  /** Largest difference that still counts as equal. */
  tolerance?: number;
  /** In completions, only a number right after the last `####` counts. */
  strict?: boolean;
};
export type PythonReward = {
  /** Factor on this reward in the sum; below zero it is a penalty. */
  weight?: number;
  /** What it is called in reports, for two rewards of one kind. Default: its kind. */
  label?: string | null;
  kind?: "python";
  /** Name of the file in `rewards/`. */
  file: string;
  /** Name of the function in it. */
  function?: string;
};
export type TagFormat = {
  /** Factor on this reward in the sum; below zero it is a penalty. */
  weight?: number;
  /** What it is called in reports, for two rewards of one kind. Default: its kind. */
  label?: string | null;
  kind?: "tag_format";
  /** Names of the tags, in their order. */
  tags?: string[];
};
export type LossType = "grpo" | "dapo" | "bnpo" | "dr_grpo";
export type ScaleRewards = "group" | "batch" | "none";
export type ComputeDtype = "auto" | "float32" | "bfloat16";
export type TrainingConfig = {
  /** What is learned from: `sft` answers; `grpo`, `gspo`, `dr_grpo` rewards; `dpo`, `orpo` preferences. */
  method?: Method;
  /** Base model: a folder, a name from `droidft models list`, or a hub id such as `org/name`. */
  model_path: string;
  /** Training data: a JSONL, JSON, CSV or Parquet file, or a hub data set id (`hub:org/name`). */
  train_data_path: string;
  /** Validation data in the same forms. Without it, a seeded part of the training data is held out. */
  val_data_path?: string | null;
  /** `none` trains on all rows: no validation loss, no best weights, no early stop. */
  validation?: Validation;
  /** Share of the training rows held out when `val_data_path` is not given. */
  validation_fraction?: number;
  /** Share of the training rows set aside for a test: neither trained on nor evaluated. */
  test_fraction?: number;
  /** Share of the rows left for training that is used; a smaller share is part of every larger one. */
  train_fraction?: number;
  /** Seed that decides which rows are held out, set aside or left out. Default: `seed`. */
  split_seed?: number | null;
  /** Unit of the split: a `row`, or a `conversation` (all rows that open with the same messages, up to and including
    the first message of the user). */
  split_by?: SplitBy;
  /** Column that names the unit of the split, such as a document. Overrides `split_by`. */
  split_column?: string | null;
  /** Shape of a row; `auto` recognises it from the first row's fields and holds every row to it. */
  data_format?: DataFormat;
  /** Column holding plain text, when it is not named `text`. */
  text_column?: string | null;
  /** Column holding the prompt, when it is not named `prompt`, `instruction` or `question`. */
  prompt_column?: string | null;
  /** Column holding the answer, when it is not named `completion`, `answer`, `output` or `response`. */
  completion_column?: string | null;
  /** Column holding the conversation, when it is not named `messages` or `conversations`. */
  messages_column?: string | null;
  /** A system message for every conversation that has none of its own. */
  system_prompt?: string | null;
  /** System turns: `auto` leaves them to the chat template, `fold` puts their text into the user's turn beside them,
    `refuse` makes a fault of one that the template does not show. */
  system_role?: SystemRole;
  /** Variables for the chat template, such as `{"enable_thinking": false}`. Answers have them too. */
  chat_template_kwargs?: {
    [key: string]: unknown;
  } | null;
  /** The day, such as 2026-11-30, for chat templates that write today's date. Default: the day the run is made. */
  template_date?: string | null;
  /** Train on the assistant's turns only; otherwise on every token. Turns of weight 0 are never trained. */
  mask_prompt?: boolean;
  /** With `mask_prompt`: `all-turns` of the assistant's, or the `last-turn` only. */
  train_on?: TrainOn;
  /** Rows longer than this many tokens are cut. Default: what the longest row needs, at most the model's limit. */
  max_seq_length?: number | null;
  /** What becomes of rows longer than `max_seq_length`: `cut` after it, `split` into as many rows as it takes (plain
    text only), or `refuse`. */
  long_rows?: LongRows;
  /** Number of optimizer steps. Default: as many as `epochs` take. */
  iterations?: number | null;
  /** Passes over the training data, when `iterations` is not given. Default: 3; 1 for all methods but `sft`. */
  epochs?: number | null;
  /** Rows processed at once. */
  batch_size?: number;
  /** Batches summed before one optimizer step; the effective batch is this times `batch_size`. */
  grad_accumulation_steps?: number;
  /** Peak learning rate. LoRA needs about ten times the rate of full fine-tuning. */
  learning_rate?: number;
  /** Update rule. `adamw` decays the weights separately from the gradient. */
  optimizer?: Optimizer;
  /** Decoupled weight decay of the trained weights (`adamw` and `lion`; `sgd` adds it to the gradient). */
  weight_decay?: number;
  /** Decay of the first moment (`adamw`, `adam`; `lion` and `sgd` use it as momentum). */
  adam_beta1?: number;
  /** Decay of the second moment. */
  adam_beta2?: number;
  /** Added to the square root of the second moment. */
  adam_eps?: number;
  /** Correct for the moments starting at zero, as the paper and PyTorch do; mlx-lm does not. */
  adam_bias_correction?: boolean;
  /** Largest global norm of the gradient; larger ones are scaled down to it. 0 turns clipping off. */
  max_grad_norm?: number;
  /** Shape of the learning rate after warm-up, counted in optimizer steps. */
  lr_schedule?: LrSchedule;
  /** Optimizer steps over which the learning rate rises from zero to `learning_rate`. */
  warmup_steps?: number;
  /** Rate at which `linear` and `cosine` end, as a share of `learning_rate`. */
  lr_end_fraction?: number;
  /** `lora`, `dora` (LoRA with a trained magnitude), or `full` (every weight of the chosen layers). */
  fine_tune_type?: FineTuneType;
  /** Rank of the update: a higher rank means more capacity, memory and time. */
  lora_rank?: number;
  /** Strength of the update; with `standard` scaling the factor is alpha / rank. */
  lora_alpha?: number;
  /** Share of the adapter's inputs dropped during training. */
  lora_dropout?: number;
  /** How many blocks are adapted, counted from the last; -1 is all. */
  lora_num_layers?: number;
  /** Which projections are adapted; `full-layer` is attention and MLP, experts included. */
  lora_targets?: LoraTargets;
  /** Module names inside a block, such as `self_attn.q_proj`; used with `lora_targets: custom`. */
  lora_keys?: string[] | null;
  /** Adapt expert routers: `auto` does so for mixtral, phimoe, qwen2_moe and qwen3_next. */
  lora_routers?: LoraRouters;
  /** Factor on the update: `standard` alpha/rank, `rslora` alpha/sqrt(rank), `raw` alpha itself. */
  lora_scaling?: LoraScaling;
  /** What scores a completion (`droidft rewards` lists all kinds); the reward is their weighted sum. */
  rewards?: (
    | ({
        kind: "exact_answer";
      } & ExactAnswer)
    | ({
        kind: "keyword_coverage";
      } & KeywordCoverage)
    | ({
        kind: "length_window";
      } & LengthWindow)
    | ({
        kind: "lexical_f1";
      } & LexicalF1)
    | ({
        kind: "numeric_answer";
      } & NumericAnswer)
    | ({
        kind: "python";
      } & PythonReward)
    | ({
        kind: "tag_format";
      } & TagFormat)
  )[];
  /** Completions sampled for each prompt. Each is compared with the others of this group. */
  num_generations?: number;
  /** Prompts whose groups make one optimizer step. */
  prompts_per_step?: number;
  /** Optimizer steps that one rollout is split over; all but the first train on slightly old completions. */
  steps_per_generation?: number;
  /** Passes over the completions of each rollout. */
  num_iterations?: number;
  /** Longest prompt, in tokens; longer ones are refused. Default: what the model's context leaves room for. */
  max_prompt_length?: number | null;
  /** Tokens after which a completion is cut off. */
  max_completion_length?: number;
  /** Divides the logits, both when completions are sampled and when their probabilities are computed. */
  temperature?: number;
  /** Completions sampled at once; changes memory and speed only. */
  sampling_batch_size?: number;
  /** Validation prompts answered at each evaluation, always the same ones. */
  max_eval_prompts?: number;
  /** Completions written to the log with each report. */
  shown_completions?: number;
  /** `grpo`, `gspo`, `dr_grpo`: weight of the KL divergence from the base model. `dpo`: how strongly the base
    model holds. `orpo`: weight of the odds ratio. */
  beta?: number;
  /** The probability ratio is clipped below 1 - epsilon and, without `epsilon_high`, above 1 + epsilon. */
  epsilon?: number;
  /** The probability ratio is clipped above 1 + epsilon_high. Default: `epsilon`. */
  epsilon_high?: number | null;
  /** Mean over tokens: `grpo` within each completion, then over all; `dapo` and `bnpo` over all tokens of the step;
    `dr_grpo` divides their sum by completions times `max_completion_length`. */
  loss_type?: LossType;
  /** Advantages are divided by the rewards' standard deviation in the `group`, in the `batch`, or by `none`. */
  scale_rewards?: ScaleRewards;
  /** Leave completions that were cut off out of the loss. */
  mask_truncated_completions?: boolean;
  /** Optimizer steps between training reports. */
  steps_per_report?: number;
  /** Optimizer steps between evaluations on the whole validation set (also at step 0 and at the end). */
  steps_per_eval?: number;
  /** Optimizer steps between checkpoints. */
  save_every?: number;
  /** How many resumable checkpoints are kept; the best adapter is always kept. */
  keep_checkpoints?: number;
  /** Stop when the validation loss has not improved for `patience` evaluations. */
  early_stop?: boolean;
  /** Evaluations without improvement before an early stop. */
  patience?: number;
  /** Smallest fall of the validation loss (or rise of the reward) that counts as an improvement, in its own unit. */
  min_delta?: number;
  /** Recompute activations in the backward pass: saves memory, takes about a third more time. */
  grad_checkpoint?: boolean;
  /** Frozen weights are kept and multiplied in `float32` or `bfloat16`, which is faster and takes half the memory;
    sums, adapters and loss are float32. `auto`: on a CPU bfloat16 if it has instructions for it, else float32;
    on a GPU as stored. A run goes on with what it began with. */
  compute_dtype?: ComputeDtype;
  /** Decides how the adapter is initialised, the order of the data, and dropout. Without `split_seed`, also which
    rows are held out. */
  seed?: number;
  /** Name of the adapter folder. Default: the run's id. */
  adapter_name?: string | null;
  /** Adapter whose weights a new run starts from (`resume` continues an old run). A bare name means its best
    weights, or else its latest; `name@latest`, `name@200` choose others. A folder of PEFT's, a GGUF LoRA file or a
    packed adapter is converted for the run's model. */
  init_adapter?: string | null;
  /** Start from `init_adapter` though it was trained on another base model of the same shapes. */
  allow_mismatch?: boolean;
  /** Adapter that DPO and the KL term compare with: a name or folder, or `none` for the bare base model. Default:
    `init_adapter`, so that a run starts where it is compared with. */
  reference_adapter?: string | null;
  /** Id of a run to continue, bit for bit, from its last checkpoint. */
  resume?: string | null;
  /** Never use the network: models and data must be on this machine already. */
  offline?: boolean;
};
export type RunVerdict = {
  tone: "good" | "neutral" | "warn";
  title: string;
  /** Further sentences: cost, what happened after the best, how far to trust it. */
  notes: string[];
};
export type RunStarted = {
  type: "run_started";
  /** The `TrainingConfig` as JSON. */
  config: {
    [key: string]: unknown;
  };
  /** Versions of droidft, mlx, mlx-lm, python. */
  versions: {
    [key: string]: string;
  };
  /** Device, BLAS and memory as `droidft doctor` shows them. */
  device: {
    [key: string]: unknown;
  };
  /** Step of the checkpoint this run continues from. */
  resumed_from_step?: number | null;
};
export type DataPrepared = {
  type: "data_prepared";
  train_rows: number;
  val_rows: number;
  train_tokens: number;
  val_tokens: number;
  train_supervised_tokens: number;
  val_supervised_tokens: number;
  truncated_rows: number;
  dropped_rows: number;
  max_seq_length: number;
  format: string;
  /** How validation rows were obtained, as a sentence. */
  split: string;
  /** SHA-256 over the tokens and masks of both sets. */
  data_hash: string;
};
export type TargetCount = {
  key: string;
  modules: number;
  trainable: number;
};
export type LoraAttached = {
  type: "lora_attached";
  targets: TargetCount[];
  trainable: number;
  total: number;
  rank: number;
  alpha: number;
  scale: number;
  scaling?: string;
  dropout: number;
  num_layers: number;
  /** `LoRA Configuration: rank=32, alpha=32.0, scale=1.0, dropout=0.0, layers=-1, keys=7` */
  log_line: string;
};
export type TrainingPlan = {
  type: "plan";
  steps: number;
  steps_per_epoch: number;
  epochs: number;
  effective_batch: number;
  /** Tokens that batches are padded to, where a step is compiled for each of these; none where any will do. */
  widths?: number[];
  /** Share of padding in such batches, where it is known beforehand. */
  padding?: number | null;
};
export type EvalReport = {
  type: "eval_report";
  step: number;
  /** What is to fall: nats per supervised token, the loss of preferences, or minus the mean reward. */
  loss: number;
  tokens: number;
  best: boolean;
  best_loss: number;
  best_step: number;
  seconds: number;
  /** What the method measures besides, by the names of `METRICS`. */
  metrics?: {
    [key: string]: number;
  };
};
export type Checkpoint = {
  step: number;
  /** Validation loss at that step, if it was evaluated. */
  loss: number | null;
  /** Mean reward of validation prompts at that step, likewise. */
  reward: number | null;
  best: boolean;
  latest: boolean;
  /** Whether the optimizer's state is kept too. */
  resumable: boolean;
  /** How Compare and chat name these weights, such as `till@200`; None when they were dropped. */
  adapter: string | null;
  bytes: number;
};
export type Warned = {
  type: "warning";
  code: string;
  message: string;
};
export type RunDetail = {
  summary: RunSummary;
  verdict: RunVerdict;
  config: TrainingConfig;
  /** Settings that differ from their defaults. */
  changed: {
    [key: string]: unknown;
  };
  /** The same run as a command line. */
  command: string;
  /** The same run as a settings file. */
  yaml: string;
  start: RunStarted | null;
  data: DataPrepared | null;
  lora: LoraAttached | null;
  plan: TrainingPlan | null;
  evaluations: EvalReport[];
  checkpoints: Checkpoint[];
  warnings: Warned[];
  folder: string;
};
export type StopRequest = {
  /** Kill the worker at once; what came after its last checkpoint is lost. */
  force?: boolean;
};
export type RunResume = {
  /** Settings by name: how long it is, and how it reports, evaluates, saves and stops early. Others are refused. */
  changes?: {
    [key: string]: unknown;
  };
};
export type RunClone = {
  /** Settings by name; null takes one back to its default. */
  changes?: {
    [key: string]: unknown;
  };
};
export type CheckpointSaved = {
  type: "checkpoint_saved";
  step: number;
  best: boolean;
  bytes: number;
};
export type SampledCompletion = {
  /** `file:line` of its prompt. */
  place: string;
  prompt: string;
  completion: string;
  /** By the name of each reward, unweighted. */
  rewards: {
    [key: string]: number;
  };
  /** Their weighted sum. */
  reward: number;
  advantage: number;
  tokens: number;
  /** Whether it was cut off before the model ended it. */
  truncated: boolean;
};
export type Completions = {
  type: "completions";
  step: number;
  rows: SampledCompletion[];
};
export type EarlyStopped = {
  type: "early_stopped";
  step: number;
  best_step: number;
  best_loss: number;
  evaluations_without_improvement: number;
};
export type Failed = {
  type: "failed";
  code: string;
  message: string;
  hint?: string;
  step?: number | null;
};
export type Finished = {
  type: "finished";
  step: number;
  best_step: number | null;
  best_loss: number | null;
  final_loss: number | null;
  seconds: number;
};
export type Measured = {
  type: "measured";
  /** Of the measured weights; 0 is the base model. */
  step: number;
  /** Nats per supervised token of the test set. */
  test_loss: number;
  /** Nats per token of the general text. */
  general_loss: number;
  /** Questions answered rightly, of `questions`. */
  right?: number | null;
  questions?: number | null;
  seconds: number;
};
export type PhaseName =
  | "preparing data"
  | "loading model"
  | "evaluating"
  | "sampling"
  | "measuring"
  | "training";
export type Phase = {
  type: "phase";
  name: PhaseName;
  detail?: string;
};
export type Stopped = {
  type: "stopped";
  step: number;
};
export type TrainReport = {
  type: "train_report";
  step: number;
  epoch: number;
  /** Nats per supervised token; of methods that learn from rewards or preferences, their own loss. */
  loss: number;
  learning_rate: number;
  /** Largest global norm in the window, before clipping. */
  grad_norm: number;
  tokens_per_second: number;
  supervised_tokens_per_second: number;
  /** Tokens seen since step 0, padding not counted. */
  tokens: number;
  supervised_tokens: number;
  peak_memory_bytes: number;
  rss_bytes: number;
  /** None until the first step has been timed. */
  seconds_left: number | null;
  /** What the method measures besides: means over the steps since the last report, by the names of `METRICS`. */
  metrics?: {
    [key: string]: number;
  };
};
export type Record = {
  seq: number;
  time: number;
  event:
    | ({
        type: "checkpoint_saved";
      } & CheckpointSaved)
    | ({
        type: "completions";
      } & Completions)
    | ({
        type: "data_prepared";
      } & DataPrepared)
    | ({
        type: "early_stopped";
      } & EarlyStopped)
    | ({
        type: "eval_report";
      } & EvalReport)
    | ({
        type: "failed";
      } & Failed)
    | ({
        type: "finished";
      } & Finished)
    | ({
        type: "lora_attached";
      } & LoraAttached)
    | ({
        type: "measured";
      } & Measured)
    | ({
        type: "phase";
      } & Phase)
    | ({
        type: "plan";
      } & TrainingPlan)
    | ({
        type: "run_started";
      } & RunStarted)
    | ({
        type: "stopped";
      } & Stopped)
    | ({
        type: "train_report";
      } & TrainReport)
    | ({
        type: "warning";
      } & Warned);
};
export type Events = {
  records: Record[];
  /** Sequence number to ask on from. */
  last: number;
  /** Whether there are further records already. */
  more: boolean;
};
export type TrainCurve = {
  step: number[];
  time: number[];
  /** Since the run began, without the pauses between a stop and a resume. */
  seconds: number[];
  epoch: number[];
  loss: number[];
  learning_rate: number[];
  grad_norm: number[];
  tokens_per_second: number[];
  peak_memory: number[];
  /** What the method measures besides, by name; null where a report has none of that name. */
  metrics: {
    [key: string]: (number | null)[];
  };
};
export type EvalCurve = {
  step: number[];
  seconds: number[];
  loss: number[];
  metrics: {
    [key: string]: (number | null)[];
  };
};
export type Curves = {
  run: string;
  train: TrainCurve;
  validation: EvalCurve;
  best_step: number | null;
};
export type CompletionsView = {
  /** Ascending. */
  steps: number[];
  /** Whose completions these are; null where there are none at all. */
  step: number | null;
  rows: SampledCompletion[];
};
export type LogText = {
  text: string;
  /** Whether earlier lines were left out. */
  truncated: boolean;
};
export type DiffRow = {
  name: string;
  group: string;
  values: unknown[];
};
export type ConfigDiff = {
  runs: string[];
  rows: DiffRow[];
};
export type QueueEntry = {
  run: string;
  action: "start" | "resume";
  added: number;
};
export type QueueView = {
  running: string[];
  waiting: QueueEntry[];
  /** How many runs train at once. */
  limit: number;
};
export type QueueMove = {
  position: number;
};
export type Bounds = {
  min: number | null;
  max: number | null;
  /** Whether `min` itself is refused. */
  above: boolean;
  /** Whether `max` itself is refused. */
  below: boolean;
};
export type SettingView = {
  name: string;
  group: string;
  kind:
    "text" | "integer" | "number" | "boolean" | "list" | "object" | "objects";
  required: boolean;
  /** Whether null is a value, the default. */
  optional: boolean;
  default: unknown;
  choices: string[];
  bounds: Bounds;
  help: string;
  /** Defaults of the methods that have their own. */
  by_method: {
    [key: string]: unknown;
  };
};
export type Settings = {
  settings: SettingView[];
};
export type FieldProblem = {
  field: string | null;
  message: string;
};
export type StepPlan = {
  steps: number;
  steps_per_epoch: number;
  epochs: number;
  effective_batch: number;
};
export type DraftReport = {
  ok: boolean;
  problems: FieldProblem[];
  warnings: string[];
  changed: string[];
  /** Factor on the update B·A. */
  scale: number | null;
  /** How long the run is, where the number of rows is known. */
  plan: StepPlan | null;
  /** Optimizer steps of the run; known without rows where `iterations` says so. */
  steps: number | null;
  command: string;
  yaml: string;
  /** Learning rate over optimizer steps, as (step, rate); empty where the number of steps is unknown. */
  schedule: [number, number][];
};
export type Draft = {
  values: {
    [key: string]: unknown;
  };
  /** Rows, prompts or pairs to train on, where the data check has counted them. */
  rows?: number | null;
};
export type ParsedSettings = {
  values: {
    [key: string]: unknown;
  };
};
export type YamlText = {
  text: string;
};
export type Family = "answers" | "rewards" | "preferences";
export type MethodDefault = {
  /** The setting. */
  name: string;
  value: unknown;
  why: string;
};
export type MethodView = {
  name: Method;
  title: string;
  /** Empty for `sft`. */
  paper: string;
  good_for: string;
  costs: string;
  family: Family;
  defaults: MethodDefault[];
  /** Settings that belong to its family and not to every other. */
  settings: string[];
  /** Settings that it does not look at. */
  without_effect: string[];
};
export type MetricView = {
  name: string;
  help: string;
};
export type Methods = {
  methods: MethodView[];
  metrics: MetricView[];
};
export type RewardKindView = {
  kind: string;
  title: string;
  /** Least and most that it gives, in words. */
  range: string;
  help: string;
  /** Its fields but `kind`; `weight` and `label`, which every kind has, come last. */
  parameters: SettingView[];
  /** JSON schema of the whole object. */
  json_schema: {
    [key: string]: unknown;
  };
};
export type RewardFunction = {
  name: string;
  line: number;
  /** First line of its docstring. */
  help: string;
  parameters: string[];
  /** Columns that a row has to have: parameters without a default. */
  required: string[];
  /** Whether it takes every column (`**columns`). */
  takes_all: boolean;
};
export type RewardFileView = {
  file: string;
  functions: RewardFunction[];
  problem: string;
};
export type Rewards = {
  kinds: RewardKindView[];
  files: RewardFileView[];
  /** Where own files belong. */
  folder: string;
};
export type Fault = {
  file: string;
  line: number | null;
  offset: number | null;
  kind: string;
  reason: string;
  fix: string;
};
export type Places = {
  count: number;
  first: string[];
};
export type FileReport = {
  files: string[];
  format: string;
  rows: number;
  bytes: number;
  duplicates: Places;
};
export type StructureReport = {
  train: FileReport;
  validation: FileReport | null;
  overlap: Places;
  notes: string[];
};
export type LengthBin = {
  low: number;
  high: number;
  rows: number;
};
export type SetReport = {
  rows: number;
  tokens: number;
  supervised_tokens: number;
  /** min, p5, p25, p50, p75, p95, p99, max. */
  lengths: {
    [key: string]: number;
  };
  histogram: LengthBin[];
  truncated: Places;
  cut_tokens: number;
  lost_end_of_turn: Places;
  /** Rows equal to an earlier one. */
  duplicates: Places;
  /** By `Flag`. */
  flagged: {
    [key: string]: Places;
  };
  /** Rows whose last trained token is an end-of-sequence token, after the cut. */
  ends_in_eos: number;
};
export type TokenReport = {
  train: SetReport;
  validation: SetReport;
  /** Validation rows that are also in the training set, token for token. */
  overlap: Places;
  max_seq_length: number;
  format: string;
  split: string;
  data_hash: string;
  warnings: string[];
  notes: string[];
};
export type DataCheck = {
  ok: boolean;
  fault_count: number;
  faults: Fault[];
  structure: StructureReport | null;
  /** With a model only. */
  tokens: TokenReport | null;
  /** Why tokens could not be counted though there is a model: it is not here, or has no usable tokenizer. */
  token_problem: ErrorBody | null;
  plan: StepPlan | null;
};
export type Trial = {
  /** Names of the rewards, in order. */
  rewards: string[];
  weights: number[];
  /** Completions of one prompt stand together; `advantage` is the reward's lead over their mean. */
  rows: SampledCompletion[];
  /** Share of prompts whose completions all earned the same: nothing would be learned from them. */
  tied_groups: number;
  sampling_tokens_per_second: number;
  /** From the first token to the last score. */
  seconds: number;
  seed: number;
  warnings: string[];
};
export type Losses = {
  base: number;
  /** Of base + adapter, as trained. */
  trained: number;
  /** Of the exported files; None where they could not be read, or gave no finite number. */
  exported: number | null;
};
export type Tolerance = {
  /** Of the difference between base and base + adapter: 0.1, or 0.25 for a quantised export. */
  share: number;
  /** What this share allows. */
  limit: number;
  /** What the share of an export that is not quantised would allow. */
  plain_limit: number;
  /** Between exported files and base + adapter. */
  difference: number | null;
  /** The reader's own difference from ours on the base, from 0.0001 to 0.01: smaller differences say nothing. */
  resolution: number;
  /** What decided: the mean loss; the loss row by row, where the means of base and base + adapter are too close to
    tell apart; nothing, where the adapter changes too little in any row. */
  by: "loss" | "rows" | "nothing";
};
export type Apart = {
  positions: number;
  /** Largest difference between their logits. */
  largest: number;
  /** Difference of the mean loss, in nats per token, without its sign. */
  loss: number;
};
export type SameTokens = {
  conversations: number;
  equal: number;
  /** Which conversation, and where. */
  first_difference?: string | null;
  /** Whether the chat template among the files is that of the base. None: the reader does not say. */
  same_template?: boolean | null;
};
export type SameAnswers = {
  answers: number;
  equal: number;
  /** The earliest token at which an answer is another one, from 1. */
  first_divergence?: number | null;
};
export type Hashes = {
  /** Of the base model's weights. */
  base: string;
  /** Of the adapter's weights. */
  adapter: string;
  /** Of the tokens and masks of the rows. */
  data: string;
  /** Of each exported file, by its name in the folder. */
  files: {
    [key: string]: string;
  };
};
export type Certificate = {
  format?: 1;
  form: string;
  /** Type of quantised weights, such as `Q4_K_M` or `4 bits`. */
  quantisation?: string | null;
  /** `unproven`: the adapter changes too little to show whether it is in the files. */
  verdict: "passed" | "failed" | "unproven";
  /** The verdict with its figures. */
  sentence: string;
  /** What read the exported files: its packages and their versions, or droidft. */
  reader: string;
  /** Why the reader is ours, where it is. */
  reader_note?: string;
  rows: number;
  /** Whose loss was measured. */
  tokens: number;
  loss: Losses;
  tolerance: Tolerance;
  /** The reader against ours on the base alone; None where it did not read the base. */
  noise: Apart | null;
  /** The exported files against base + adapter. */
  logits: Apart | null;
  /** Base + adapter against the base: what the adapter changes. */
  moved: Apart | null;
  tokens_equal: SameTokens;
  greedy: SameAnswers;
  hashes: Hashes;
  versions: {
    [key: string]: string;
  };
  /** What repeats the export. */
  command: string;
  notes?: string[];
};
export type Way = {
  program: string;
  /** Of the code, as Markdown names it. */
  language: string;
  code: string;
};
export type ExportEntry = {
  name: string;
  /** Its folder. */
  path: string;
  bytes: number;
  /** Seconds since the epoch. */
  made: number;
  problem: string;
  certificate: Certificate | null;
  /** What to type in other programs; empty where the certificate failed. */
  usage: Way[];
};
export type Pushed = {
  repo_id: string;
  /** Of the repository's page. */
  url: string;
  commit: string;
  files: number;
  /** Of all files. */
  bytes: number;
  /** Bytes of large files that went over the line, repetitions included. */
  sent: number;
};
export type Job = {
  id: string;
  kind: "check" | "pull" | "import" | "try" | "export" | "push";
  title: string;
  state: "running" | "done" | "failed" | "cancelled";
  /** Whether it has yet to begin, since others are being done. */
  waiting: boolean;
  /** What is being done: checking rows, counting tokens, downloading, importing, sampling …; may be empty. */
  phase: string;
  /** Bytes so far, of this phase; while rewards are tried, completions; while exports are read, rows. */
  done: number;
  total: number | null;
  started: number;
  error: ErrorBody | null;
  /** Result of a data check; while tokens are being counted, what is known of the structure. */
  check: DataCheck | null;
  /** Result of a pull or import: what to give as `model_path`. */
  model: string | null;
  /** What an import could not take over, such as the length that a GGUF file's model reads; what came out otherwise
    than asked of an export. */
  warnings?: string[];
  /** Result of trying rewards. */
  trial: Trial | null;
  /** Result of an export, whether or not its certificate passed. */
  export: ExportEntry | null;
  /** Result of a push. */
  pushed: Pushed | null;
};
export type TryRequest = {
  /** Settings by name, as for a run: model, data, method, rewards, temperature, max_completion_length … */
  settings: {
    [key: string]: unknown;
  };
  prompts?: number;
  /** Completions of each prompt, at most; fewer where `num_generations` is less. */
  completions?: number;
  /** Decides prompts and completions; without it they differ from trial to trial. */
  seed?: number | null;
};
export type AdapterWarning = {
  code: string;
  message: string;
};
export type AdapterDetails = {
  name: string | null;
  /** `best`, `latest`, `step 200`, or `none` for the base alone. */
  type: string;
  chat_template_used: boolean;
  rank: number | null;
  /** In the paper's sense: scale x rank. */
  alpha: number | null;
  scale: number | null;
  dropout: number | null;
  keys: string[] | null;
  num_layers: number | null;
  expected_layers: number;
  model_recorded: string | null;
  /** How far the adapter moves the logits of a short English text. */
  max_logit_change: number | null;
  warnings: AdapterWarning[];
};
export type InferenceAnswer = {
  response: string;
  adapter_details: AdapterDetails;
  finish_reason: "stop" | "length";
  prompt_tokens: number;
  tokens: number;
  tokens_per_second: number;
  seed: number;
};
export type InferenceRequest = {
  use_chat_template?: boolean;
  /** Variables of the template, such as `enable_thinking`. */
  chat_template_kwargs?: {
    [key: string]: unknown;
  } | null;
  /** The day, for templates that write the date; today if it is not given. */
  template_date?: string | null;
  max_tokens?: number;
  temperature?: number;
  top_p?: number;
  min_p?: number;
  top_k?: number;
  repetition_penalty?: number;
  seed?: number | null;
  prompt: string;
  /** A name, a hub id, or a folder below the allowed roots. */
  model_name: string;
  /** A name, then `@best`, `@latest` or `@200`. Without `@`: the best weights if there are any, else the latest. */
  adapter_name?: string | null;
  system_prompt?: string | null;
  /** Use an adapter though it was trained on other weights than those of the model; otherwise that is a 400. */
  allow_mismatch?: boolean;
};
export type CompareRequest = {
  use_chat_template?: boolean;
  /** Variables of the template, such as `enable_thinking`. */
  chat_template_kwargs?: {
    [key: string]: unknown;
  } | null;
  /** The day, for templates that write the date; today if it is not given. */
  template_date?: string | null;
  max_tokens?: number;
  temperature?: number;
  top_p?: number;
  min_p?: number;
  top_k?: number;
  repetition_penalty?: number;
  seed?: number | null;
  prompt: string;
  model_name: string;
  /** A side each: an adapter as in `InferenceRequest`, or null for the base alone. */
  adapters: (string | null)[];
  system_prompt?: string | null;
  /** Use an adapter though it was trained on other weights than those of the model; otherwise that is a 400. */
  allow_mismatch?: boolean;
};
export type InferenceState = {
  model: string | null;
  busy: boolean;
  waiting: number;
  /** Resident bytes of the worker. */
  memory: number | null;
};
export type Share = {
  share: number | null;
  low: number;
  high: number;
};
export type Shares = {
  /** In the order in which they were asked for. */
  shares: Share[];
  /** What each share would be if nobody preferred any. */
  chance: number;
  /** Of each interval: two sides have one share between them, so 95 %; more are widened (Bonferroni). */
  level: number;
  /** The side whose interval lies above chance, if there is one. */
  preferred: number | null;
};
export type ServedModel = {
  id: string;
  object?: "model";
  created: number;
  owned_by: string;
};
export type ServedModels = {
  object?: "list";
  data: ServedModel[];
};
export type OpenAiError = {
  message: string;
  type: string;
  /** The field at fault. */
  param: string | null;
  code: string;
};
export type OpenAiErrorAnswer = {
  error: OpenAiError;
};
export type AnswerMessage = {
  role?: "assistant";
  content: string;
};
export type TopLogprob = {
  token: string;
  bytes: number[];
  logprob: number;
};
export type TokenLogprob = {
  token: string;
  bytes: number[];
  logprob: number;
  top_logprobs: TopLogprob[];
};
export type ChatLogprobs = {
  content: TokenLogprob[];
  refusal?: null;
};
export type ChatChoice = {
  index?: number;
  message: AnswerMessage;
  finish_reason: "stop" | "length";
  logprobs?: ChatLogprobs | null;
};
export type Usage = {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
};
export type Extra = {
  adapter_details: AdapterDetails;
  seed: number;
  /** Null in a stream before its end. */
  tokens_per_second: number | null;
};
export type ChatCompletion = {
  id: string;
  object?: "chat.completion";
  created: number;
  model: string;
  choices: ChatChoice[];
  usage: Usage;
  droidft: Extra;
};
export type StreamOptions = {
  include_usage?: boolean;
  /** Padding against listeners on the way, which OpenAI adds; here there is none. */
  include_obfuscation?: boolean | null;
};
export type ChatMessage = {
  role: string;
  content?:
    | string
    | {
        [key: string]: unknown;
      }[]
    | null;
  [key: string]: unknown;
};
export type ChatRequest = {
  /** `model`, `model:adapter`, or `model:adapter@best`, `@latest`, `@200`. */
  model: string;
  temperature?: number | null;
  top_p?: number | null;
  min_p?: number | null;
  top_k?: number | null;
  repetition_penalty?: number | null;
  presence_penalty?: number | null;
  frequency_penalty?: number | null;
  /** Added to the logits of tokens, by their ids; -100 forbids one, 100 forces it. */
  logit_bias?: object | null;
  /** Choice 0 is drawn with it, choice 1 with the next number, and so on. */
  seed?: number | null;
  stop?: string | string[] | null;
  stream?: boolean | null;
  /** Only with `stream`. */
  stream_options?: StreamOptions | null;
  /** Choices for each prompt. */
  n?: number | null;
  /** Use an adapter though it was trained on other weights than those of the model; not a field of OpenAI's. */
  allow_mismatch?: boolean;
  messages: ChatMessage[];
  /** 512 where neither this nor `max_completion_tokens` is given. */
  max_tokens?: number | null;
  /** Variables of the chat template, such as `enable_thinking`, as vLLM has them. */
  chat_template_kwargs?: {
    [key: string]: unknown;
  } | null;
  /** Put to the chat template under this name; refused where it reads none. */
  reasoning_effort?: string | null;
  max_completion_tokens?: number | null;
  /** The log-probability of each token of the answer: the model's own, before temperature and penalties. */
  logprobs?: boolean | null;
  /** So many of the likeliest tokens in each place; only with `logprobs`. */
  top_logprobs?: number | null;
  [key: string]: unknown;
};
export type TextLogprobs = {
  tokens: string[];
  /** Null for the first token of a prompt, which follows nothing. */
  token_logprobs: (number | null)[];
  /** The likeliest tokens, and the one that came. */
  top_logprobs: ({
    [key: string]: number;
  } | null)[];
  text_offset: number[];
};
export type TextChoice = {
  index?: number;
  text: string;
  finish_reason: "stop" | "length";
  logprobs?: TextLogprobs | null;
};
export type Completion = {
  id: string;
  object?: "text_completion";
  created: number;
  model: string;
  choices: TextChoice[];
  usage: Usage;
  droidft: Extra;
};
export type CompletionRequest = {
  /** `model`, `model:adapter`, or `model:adapter@best`, `@latest`, `@200`. */
  model: string;
  temperature?: number | null;
  top_p?: number | null;
  min_p?: number | null;
  top_k?: number | null;
  repetition_penalty?: number | null;
  presence_penalty?: number | null;
  frequency_penalty?: number | null;
  /** Added to the logits of tokens, by their ids; -100 forbids one, 100 forces it. */
  logit_bias?: object | null;
  /** Choice 0 is drawn with it, choice 1 with the next number, and so on. */
  seed?: number | null;
  stop?: string | string[] | null;
  stream?: boolean | null;
  /** Only with `stream`. */
  stream_options?: StreamOptions | null;
  /** Choices for each prompt. */
  n?: number | null;
  /** Use an adapter though it was trained on other weights than those of the model; not a field of OpenAI's. */
  allow_mismatch?: boolean;
  prompt: string | unknown[];
  /** 512 where it is not given; 0, with `echo`, only reads the prompt. */
  max_tokens?: number | null;
  /** The log-probability of each token, and so many of the likeliest in its place. */
  logprobs?: number | null;
  /** As many as `n`: choosing among more is not supported. */
  best_of?: number | null;
  /** The prompt before its continuation, with `logprobs` for its tokens too. */
  echo?: boolean | null;
  [key: string]: unknown;
};
export type ModelEntry = {
  /** What to give as `model_path`. */
  ref: string;
  source: "home" | "hub cache" | "embedded";
  /** False for the embedded model until it is fetched. */
  installed: boolean;
  model_type: string;
  bytes: number;
  quantization: string;
  problem: string;
  note: string;
  /** Whether its chat template can turn thinking on and off (`enable_thinking`). */
  thinking?: boolean;
};
export type ModelPull = {
  model: string;
};
export type ModelImport = {
  path: string;
  name: string;
};
export type KeyCount = {
  key: string;
  kind: string;
  modules: number;
  trainable: number;
};
export type MemoryParts = {
  weights: number;
  adapter: number;
  gradients: number;
  optimizer: number;
  activations: number;
  loss: number;
  total: number;
};
export type Verdict = "fits" | "tight" | "does not fit";
export type PresetReport = {
  preset: string;
  keys: KeyCount[];
  trainable: number;
  share: number;
  adapter_bytes: number;
  notes: string[];
  memory: MemoryParts | null;
  verdict: Verdict | null;
  problem: string | null;
};
export type RateHint = {
  value: number;
  why: string;
};
export type TargetsReport = {
  model: string;
  path: string;
  model_type: string;
  blocks: number;
  parameters: number;
  hidden_size: number | null;
  context_length: number | null;
  quantization: string | null;
  /** What in its folder asks for code to be run; none of it is. */
  code: string[];
  /** What is to be known of the model before it is used, a sentence each. */
  warnings: string[];
  rank: number;
  batch_size: number;
  seq_length: number;
  memory_available: number;
  /** What keys and values of one token take while sampling, at most. */
  cache_bytes_per_token: number;
  presets: PresetReport[];
  learning_rate: RateHint;
};
export type AdapterEntry = {
  name: string;
  problem: string;
  fine_tune_type: string | null;
  method: string | null;
  rank: number | null;
  alpha: number | null;
  scale: number | null;
  modules: string[];
  blocks: number;
  parameters: number;
  /** Path or hub id of the model it was trained on. */
  base: string | null;
  run: string | null;
  /** What may follow the `@`: latest, best, 200 … */
  weights: string[];
  bytes: number;
};
export type AdapterReport = {
  entry: AdapterEntry;
  which: string;
  warnings: AdapterWarning[];
};
export type Form =
  "peft" | "merged" | "mlx" | "gguf" | "gguf-adapter" | "ollama";
export type FormFacts = {
  form: Form;
  title: string;
  what: string;
  loads_in: string;
  /** Types of the weights to choose from; empty where there is nothing to choose. */
  types: string[];
  /** The type taken where none is named; None keeps that of the base. */
  usual: string | null;
};
export type ExportRequest = {
  /** Name or folder of the adapter; its best weights unless `@latest` or `@200` follows. */
  adapter: string;
  /** What to make: peft, merged, mlx, gguf, gguf-adapter or ollama. */
  form: Form;
  /** Type of the weights: 4 or 8 bits for mlx; Q4_K_M, Q5_K_M, Q6_K, Q8_0, F16 … for GGUF files. */
  type?: string | null;
  /** The base model that the adapter was trained on. Default: the one that it names. */
  model?: string | null;
  /** Another copy of the base to add the adapter to, or to use it on, such as the original of a quantised one. */
  into?: string | null;
  /** Name of the export. Default: adapter, weights other than the best, form and type. */
  name?: string | null;
  /** A file with rows for the certificate. Default: the validation rows of the adapter's run. */
  rows?: string | null;
  /** Rows that the certificate compares. */
  row_count?: number;
  /** Take the place of an export of the same name. */
  replace?: boolean;
};
export type PlannedExport = {
  name: string;
  path: string;
  /** About what it takes on the disk. */
  bytes: number;
  /** About how long it takes on this machine. */
  seconds: number;
  /** What others call the base model: its hub id, or the name of its folder. */
  base: string;
  warnings: string[];
};
export type ExportPlan = {
  plan: PlannedExport | null;
  refusal: ErrorBody | null;
  /** Forms in which the same adapter would not be refused. */
  instead: Form[];
};
export type PlannedPush = {
  repo_id: string;
  /** Whose token is used. */
  user: string;
  exists: boolean;
  /** What the repository is, or would be made. */
  private: boolean;
  /** Bytes of each file that goes there. */
  files: {
    [key: string]: number;
  };
  bytes: number;
  /** Files of an earlier export there that this one does not have. */
  removed: string[];
  /** Files there that were not pushed from here. */
  others: string[];
  /** What is to be agreed to: files, bytes, account, repository, visibility, what is removed. */
  question: string;
};
export type PushPlan = {
  plan: PlannedPush | null;
  refusal: ErrorBody | null;
};
export type PushRequest = {
  /** The repository, as `org/name`. */
  repo_id: string;
  /** Make a new repository private, and refuse one that is public. */
  private?: boolean;
  /** Push to a repository that holds something else, too. */
  overwrite?: boolean;
  /** The branch; `main` if it is not given. */
  revision?: string | null;
};
export type AgreedPush = {
  /** The repository, as `org/name`. */
  repo_id: string;
  /** Make a new repository private, and refuse one that is public. */
  private?: boolean;
  /** Push to a repository that holds something else, too. */
  overwrite?: boolean;
  /** The branch; `main` if it is not given. */
  revision?: string | null;
  /** The plan's `question`. Where another one would be asked by now, nothing is sent. */
  agreed: string;
};
export type DataFile = {
  name: string;
  /** What to give as `train_data_path`. */
  path: string;
  bytes: number;
  modified: number;
};
export type DataSettings = {
  train_data_path: string;
  val_data_path?: string | null;
  model_path?: string | null;
  /** Further settings of `TrainingConfig`: format, columns, mask_prompt, max_seq_length, seed, batch_size … */
  settings?: {
    [key: string]: unknown;
  };
};
export type Piece = {
  ids: number[];
  text: string;
  state: "trained" | "masked" | "cut";
};
export type RowView = {
  row: number;
  file: string;
  line: number;
  pieces: Piece[];
  warnings: string[];
  /** `prompt` in data for rewards, `chosen` or `rejected` in preferences. */
  part?: string;
};
export type RowViews = {
  rows: RowView[];
  faults: Fault[];
};
export type ViewRequest = {
  train_data_path: string;
  val_data_path?: string | null;
  model_path?: string | null;
  /** Further settings of `TrainingConfig`: format, columns, mask_prompt, max_seq_length, seed, batch_size … */
  settings?: {
    [key: string]: unknown;
  };
  rows: number[];
};
export type ExperimentState =
  | "planning"
  | "refused"
  | "planned"
  | "running"
  | "waiting"
  | "stopped"
  | "halted"
  | "finished";
export type Obstacle = {
  code: string;
  message: string;
  hint?: string;
};
export type Planning = {
  phase: string;
  done: number;
  total: number | null;
};
export type ExperimentSummary = {
  id: string;
  title: string;
  state: ExperimentState;
  created: number;
  model: string;
  data: string;
  arms: string[];
  seeds: number;
  /** All of them; 0 before the plan is fixed. */
  runs: number;
  done: number;
  /** The run that is next, or under way. */
  run: string | null;
  /** By the measured costs of the runs that are left. */
  seconds_left: number | null;
  problem: Obstacle | null;
  planning: Planning | null;
};
export type PlanRequest = {
  /** A plan, as in a file for `droidft experiment`; docs/experiments.md shows every part. */
  plan: {
    [key: string]: unknown;
  };
  /** Start it as soon as its plan is fixed. */
  start?: boolean;
};
export type Template = "full-layer-vs-attention";
export type Questions = {
  /** How an answer is judged: `kind: exact_answer` or `kind: numeric_answer`, with their parameters. */
  check:
    | ({
        kind: "exact_answer";
      } & ExactAnswer)
    | ({
        kind: "numeric_answer";
      } & NumericAnswer);
  /** Questions that are answered, always the same ones of the test set. */
  most?: number;
  /** Tokens after which an answer is cut off. */
  max_tokens?: number;
  /** Questions answered at once; changes memory and speed only. */
  batch_size?: number;
};
export type Harness = {
  /** Names of tasks, such as `mmlu` or `arc_easy`. */
  tasks: string[];
  /** Questions of each task. Default: all. */
  limit?: number | null;
  /** Examples before each question. Default: the task's own. */
  num_fewshot?: number | null;
  /** Folder with task files of your own. */
  include?: string | null;
};
export type Weights = "best" | "last";
export type Measurement = {
  /** Test data, in the form of the training data: a file, or a folder or hub data set with a test split. Default:
    the rows that `test_fraction` set aside. */
  test_data_path?: string | null;
  /** A general text that was not trained on, to see what is forgotten. Default: one that is included. */
  general_data_path?: string | null;
  /** Column of the test data that names what a row belongs to, such as a conversation: its rows are no independent
    evidence. Default: rows with the same opening belong together. */
  cluster_column?: string | null;
  /** Test rows to be answered, where their answers can be checked. */
  questions?: Questions | null;
  /** Tasks of the evaluation harness. */
  harness?: Harness | null;
  /** `best` by validation loss, or `last`. */
  weights?: Weights;
};
export type Plan = {
  /** The question, in words. */
  title?: string;
  /** Settings that all arms share, by their names in docs/config.md. */
  settings: {
    [key: string]: unknown;
  };
  /** Arms for a common question: `full-layer-vs-attention` compares both at one rank and at one trainable count. */
  template?: Template | null;
  /** Arms by name, each with the settings in which it differs. */
  arms?: object;
  /** Values of some settings: every combination is an arm. Chosen by validation loss, judged on the test set. */
  sweep?: {
    [key: string]: unknown[];
  };
  /** Pairs of arms to compare. Default: the first arm with each other one; of a sweep, the best with the first. */
  contrasts?: [string, string][] | null;
  /** Each arm is trained once with each seed. A verdict takes three; fewer is exploratory. */
  seeds?: number[];
  /** Rates tried for each arm: chosen by validation loss, judged on the test set. Default: that of the settings. */
  learning_rates?: number[] | null;
  /** Shares of the training data, each part of the next, for the data-efficiency curve: `[0.1, 0.25, 0.5, 1]`. */
  shares?: number[];
  /** A difference in nats per token below this does not matter: set before the first step. */
  equivalence_margin?: number;
  /** What is measured of each trained model. */
  measurement?: Measurement;
};
export type FixedArm = {
  name: string;
  /** Its own settings, the matched rank included. */
  differs: {
    [key: string]: unknown;
  };
  rank: number;
  alpha: number;
  scale: number;
  trainable: number;
  total: number;
  /** The arm whose trainable count it matches. */
  matched: string | null;
  /** Optimizer steps of a run, by share of the data (`"1"`, `"0.25"`). */
  steps: {
    [key: string]: number;
  };
  /** All other settings, with the defaults of that day. None: it was fixed before these were kept. */
  config?: {
    [key: string]: unknown;
  } | null;
};
export type Sizes = {
  train_rows: number;
  validation_rows: number;
  test_rows: number;
  general_rows: number;
  questions: number;
  /** Groups of test rows that belong together. */
  clusters: number;
  train_tokens: number;
  validation_tokens: number;
  test_tokens: number;
  general_tokens: number;
  /** Test rows that are also in the training or validation set. */
  seen_in_training: number;
  /** Further test rows that belong together with rows of the training or validation set. None: they were not yet
    counted when the plan was fixed. */
  opened_in_training?: number | null;
  /** How the sets were made, as a sentence. */
  split: string;
};
export type Cost = {
  arm: string;
  /** Of training: forward, backward, update. */
  seconds_per_token: number;
  evaluation_seconds_per_token: number;
  /** With the longest batch, by MLX's own account. */
  peak_bytes: number;
  /** A run with all of the data: loading, training, evaluations and the measurement. Tasks of a harness are not
    timed. */
  seconds_per_run: number;
  /** The same with each share of the data, on which no questions are asked. */
  seconds_by_share?: {
    [key: string]: number;
  };
  /** Of a run with all of the data, the measurement at its end. */
  measuring_seconds?: number;
};
export type Estimate = {
  runs: number;
  seconds: number;
  peak_bytes: number;
  disk_bytes: number;
};
export type FixedPlan = {
  id: string;
  /** Seconds since the epoch. */
  created: number;
  plan: Plan;
  arms: FixedArm[];
  contrasts: [string, string][];
  sizes: Sizes;
  /** SHA-256 over tokens and masks of the training and validation set. */
  data_hash: string;
  test_hash: string;
  general_hash: string;
  /** SHA-256 of the base model's weights. */
  base_hash: string;
  model: string;
  versions: {
    [key: string]: string;
  };
  device: {
    [key: string]: unknown;
  };
  warnings?: string[];
  costs?: Cost[];
  estimate?: Estimate | null;
};
export type RunRow = {
  run: string;
  arm: string;
  seed: number | null;
  share: number;
  learning_rate: number | null;
  /** `waiting` until it is made; then as that of any run. */
  status: string;
  validation_loss: number | null;
  test_loss: number | null;
  general_loss: number | null;
  right: number | null;
  /** Of training, without evaluations; of the base model, of its measurement. */
  seconds: number | null;
  /** Of all of it, with evaluations and its measurement; without loading. */
  whole_seconds: number | null;
  step: number | null;
  steps: number | null;
  /** Trained, padding left out. */
  tokens: number | null;
  peak_bytes: number | null;
  adapter_bytes: number | null;
};
export type Interval = {
  value: number;
  low: number | null;
  high: number | null;
};
export type BaseResult = {
  test_loss: number;
  test_interval: Interval;
  general_loss: number;
  accuracy: number | null;
  questions: number | null;
};
export type PerSeed = {
  mean: number;
  /** In the order of the plan's seeds, of the runs that are done. */
  values: number[];
  /** Standard deviation between seeds; of one seed, none. */
  sd: number | null;
};
export type RateResult = {
  learning_rate: number;
  /** None: a run diverged. */
  validation_loss: PerSeed | null;
  chosen: boolean;
};
export type ArmResult = {
  arm: string;
  rank: number;
  trainable: number;
  total: number;
  learning_rate: number;
  /** Those whose runs are done. */
  seeds: number[];
  /** The lowest of each run. */
  validation_loss: PerSeed;
  test_loss: PerSeed;
  /** The mean test loss; examples and seeds both vary. */
  test_interval: Interval;
  general_loss: PerSeed;
  /** General loss less that of the base model: above zero is forgotten. */
  forgetting: Interval | null;
  /** Share of questions answered rightly. */
  accuracy: PerSeed | null;
  /** Of training, without evaluations. */
  seconds: PerSeed;
  tokens_per_second: PerSeed;
  peak_bytes: number;
  adapter_bytes: number;
  /** Of the weights that were measured. */
  steps: PerSeed;
  /** Every learning rate that was tried. */
  rates: RateResult[];
};
export type Kind =
  "better" | "worse" | "equivalent" | "no_detectable_difference" | "pending";
export type ScoreResult = {
  /** `questions`, or a task and metric of the harness. */
  name: string;
  first: number;
  second: number;
  /** Without an interval where almost no question separates the arms. */
  difference: Interval;
  /** Questions that the arms answer differently under one seed or more. */
  telling: number;
  /** Questions that only the first arm answers rightly, in most of its seeds. */
  only_first: number;
  only_second: number;
  /** Exact, two-sided, of the answers of most seeds: for these trained models, other seeds left out of account. */
  mcnemar_p: number;
  /** Corrected likewise, over all contrasts and tasks. */
  adjusted_p: number;
  questions: number;
};
export type Reaches = {
  /** None: it is not reached with all of the data, or (`below`) with the smallest share already. */
  share: number | null;
  /** None: below the smallest share that was measured. */
  low: number | null;
  /** None: above all of the data. */
  high: number | null;
  /** The smallest share that was measured. */
  smallest: number;
  /** It has that loss with the smallest share already. */
  below: boolean;
  sentence: string;
};
export type Needed = {
  effect: number;
  seeds: number | null;
  examples: number | null;
};
export type ContrastResult = {
  first: string;
  second: string;
  kind: Kind;
  exploratory: boolean;
  sentence: string;
  difference: Interval | null;
  p: number | null;
  /** Corrected for the learning rates that were tried, and by Holm for all contrasts that are read. */
  adjusted_p: number | null;
  /** Of the test that the difference is within the margin, corrected likewise. */
  equivalence_p: number | null;
  degrees_of_freedom: number | null;
  per_seed: number[];
  /** Standard deviation of the difference between seeds. */
  seed_sd: number | null;
  variance_of_seeds: number | null;
  /** Parts of the estimate's variance. */
  variance_of_examples: number | null;
  perplexity_ratio: Interval | null;
  /** Share of test rows on which the first arm is better, a mean over seeds. */
  examples_better: number | null;
  /** Difference of general losses. */
  forgetting: Interval | null;
  scores: ScoreResult[];
  reaches: Reaches | null;
  needed: Needed | null;
};
export type NoiseFloor = {
  /** Between seeds of one arm, pooled over arms. */
  sd: number;
  /** 95 % of such differences are smaller. */
  difference: number;
};
export type CurvePoint = {
  /** Of the training rows, as they were trained on: where rows stay together, it is not quite that of the plan. */
  share: number;
  rows: number;
  loss: Interval;
  /** Of each seed. */
  values: number[];
};
export type Curve = {
  arm: string;
  points: CurvePoint[];
};
export type SweepRow = {
  arm: string;
  settings: {
    [key: string]: unknown;
  };
  /** None: a run diverged. */
  validation_loss: PerSeed | null;
  /** None: none before it has converged. */
  best_so_far: number | null;
};
export type TableRow = {
  name: string;
  /** Of each arm, as text. */
  values: string[];
  /** Of each contrast, as text, with its interval where there is one. */
  differences: string[];
};
export type Table = {
  arms: string[];
  contrasts: string[];
  rows: TableRow[];
};
export type Analysis = {
  plan: FixedPlan;
  complete: boolean;
  /** The answer in a sentence or two. */
  verdict: string;
  runs: RunRow[];
  base: BaseResult | null;
  arms: ArmResult[];
  contrasts: ContrastResult[];
  noise_floor: NoiseFloor | null;
  curves: Curve[];
  sweep: SweepRow[];
  table: Table | null;
  /** What limits the conclusions. */
  notes: string[];
};
export type Figures = {
  /** Of the test loss, with their intervals. */
  differences: string;
  /** Test loss over the share of the data. */
  efficiency: string;
};
export type ExperimentDetail = {
  summary: ExperimentSummary;
  /** The plan as it was given. */
  request: Plan;
  /** Results so far; None before the plan is fixed. */
  analysis: Analysis | null;
  /** The same in plots. */
  figures: Figures | null;
};
export type Form2 = "html" | "json" | "md";
export const {
  useGetHealthQuery,
  useLazyGetHealthQuery,
  useGetSystemQuery,
  useLazyGetSystemQuery,
  useLoginMutation,
  useLogoutMutation,
  useLaunchMutation,
  useListRunsQuery,
  useLazyListRunsQuery,
  useCreateRunMutation,
  useGetRunQuery,
  useLazyGetRunQuery,
  useDeleteRunMutation,
  useStopRunMutation,
  useResumeRunMutation,
  useCloneRunMutation,
  useGetEventsQuery,
  useLazyGetEventsQuery,
  useGetCurvesQuery,
  useLazyGetCurvesQuery,
  useGetCompletionsQuery,
  useLazyGetCompletionsQuery,
  useGetLogQuery,
  useLazyGetLogQuery,
  useGetReportQuery,
  useLazyGetReportQuery,
  useExportRunQuery,
  useLazyExportRunQuery,
  useDiffRunsQuery,
  useLazyDiffRunsQuery,
  useGetQueueQuery,
  useLazyGetQueueQuery,
  useMoveInQueueMutation,
  useCancelQueuedMutation,
  useGetSettingsQuery,
  useLazyGetSettingsQuery,
  useCheckDraftQuery,
  useLazyCheckDraftQuery,
  useParseYamlMutation,
  useGetMethodsQuery,
  useLazyGetMethodsQuery,
  useGetRewardsQuery,
  useLazyGetRewardsQuery,
  useTryRewardsMutation,
  usePostApiModelsInferenceMutation,
  useCompareStreamMutation,
  useGetInferenceQuery,
  useLazyGetInferenceQuery,
  useUnloadModelMutation,
  useGetSharesQuery,
  useLazyGetSharesQuery,
  useListServedModelsQuery,
  useLazyListServedModelsQuery,
  useGetServedModelQuery,
  useLazyGetServedModelQuery,
  useCreateChatCompletionMutation,
  useCreateCompletionMutation,
  useListModelsQuery,
  useLazyListModelsQuery,
  usePullModelMutation,
  useImportModelMutation,
  useGetTargetsQuery,
  useLazyGetTargetsQuery,
  useListAdaptersQuery,
  useLazyListAdaptersQuery,
  useGetAdapterQuery,
  useLazyGetAdapterQuery,
  useDeleteAdapterMutation,
  useDownloadAdapterQuery,
  useLazyDownloadAdapterQuery,
  useListExportFormsQuery,
  useLazyListExportFormsQuery,
  useListExportsQuery,
  useLazyListExportsQuery,
  useCreateExportMutation,
  usePlanExportQuery,
  useLazyPlanExportQuery,
  useGetExportQuery,
  useLazyGetExportQuery,
  useDeleteExportMutation,
  useDownloadExportQuery,
  useLazyDownloadExportQuery,
  usePlanPushMutation,
  usePushExportMutation,
  useListDataQuery,
  useLazyListDataQuery,
  useUploadDataMutation,
  useDeleteDataMutation,
  useMakeExampleMutation,
  useCheckDataMutation,
  useViewRowsQuery,
  useLazyViewRowsQuery,
  useListJobsQuery,
  useLazyListJobsQuery,
  useGetJobQuery,
  useLazyGetJobQuery,
  useCancelJobMutation,
  useListExperimentsQuery,
  useLazyListExperimentsQuery,
  useCreateExperimentMutation,
  useGetExperimentQuery,
  useLazyGetExperimentQuery,
  useDeleteExperimentMutation,
  useStartExperimentMutation,
  useStopExperimentMutation,
  useGetExperimentReportQuery,
  useLazyGetExperimentReportQuery,
} = injectedRtkApi;

// What sockets and streams say.

export type Rewind = {
  /** Number of the record that says so. */
  seq: number;
  /** -1 where nothing counts, not even the evaluation before the first step. */
  step: number;
};
export type RecordsFrame = {
  type: "records";
  records: Record[];
  rewinds: Rewind[];
  last: number;
  /** Whether these were all there are at the moment. */
  caught_up: boolean;
};
export type ResetFrame = {
  type: "reset";
};
export type UpdateFrame = {
  type: "update";
  runs: RunSummary[];
  removed: string[];
  queue: QueueView;
  jobs: Job[];
};
export type StreamEnd = {
  type: "end";
  side: number;
  finish_reason: "stop" | "length";
  prompt_tokens: number;
  tokens: number;
  tokens_per_second: number;
};
export type StreamError = {
  type: "error";
  side: number | null;
  error: ErrorBody;
};
export type StreamPhase = {
  type: "phase";
  text: string;
};
export type StreamStart = {
  type: "start";
  side: number;
  adapter_details: AdapterDetails;
  seed: number;
};
export type StreamText = {
  type: "text";
  side: number;
  text: string;
};
export type StreamEvent =
  | ({
      type: "end";
    } & StreamEnd)
  | ({
      type: "error";
    } & StreamError)
  | ({
      type: "phase";
    } & StreamPhase)
  | ({
      type: "start";
    } & StreamStart)
  | ({
      type: "text";
    } & StreamText);
