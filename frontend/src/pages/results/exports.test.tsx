import { act, configure, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { Provider } from "react-redux";
import { MemoryRouter, Route, Routes, useLocation } from "react-router";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import * as z from "zod/mini";

import type { Job } from "@/api";
import { connectionChanged, updated } from "@/state/live";
import { makeStore } from "@/state/store";
import type { AppStore } from "@/state/store";
import { certificate, exported, exportJob, FORMS } from "@/test/exports";
import { FakeSocket } from "@/test/FakeSocket";
import { adapter } from "@/test/runs";

import ResultsPage from ".";
import { requestOf, typeOptions } from "./exportDraft";
import { coarse } from "./PlanCard";

configure({ asyncUtilTimeout: 10_000 });
vi.setConfig({ testTimeout: 30_000 });

const REQUEST = z.record(z.string(), z.unknown());
const PLAN = {
  name: "till-gguf",
  path: "/home/me/.droidft/exports/till-gguf",
  bytes: 143_000_000,
  seconds: 41,
  base: "org/tiny",
  warnings: ["the base has changed since"],
};
const GOOD = { plan: PLAN, refusal: null, instead: [] };

let sent: { method: string; path: string; body: string }[] = [];
let answers: Record<string, [number, unknown]> = {};
let store: AppStore;

beforeEach(() => {
  sent = [];
  answers = {
    "GET /api/adapters": [200, [adapter("till", { run: "r1" })]],
    "GET /api/export-forms": [200, FORMS],
    "GET /api/models": [200, []],
    "POST /api/export-plan": [200, GOOD],
  };
  FakeSocket.made = [];
  store = makeStore();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("fetch", async (request: Request) => {
    const { pathname } = new URL(request.url);
    sent.push({ method: request.method, path: pathname, body: await request.text() });
    const [status, body] = answers[`${request.method} ${pathname}`] ?? [200, {}];
    if (status === 204) return new Response(null, { status });
    return new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });
  });
});
afterEach(() => vi.unstubAllGlobals());

function tell(jobs: Job[]): void {
  const queue = { running: [], waiting: [], limit: 1 };
  act(() => {
    store.dispatch(connectionChanged("live"));
    store.dispatch(updated({ frame: { type: "update", runs: [], removed: [], queue, jobs }, first: true }));
  });
}

function Where() {
  const { pathname, search } = useLocation();
  return <output data-testid="where">{pathname + search}</output>;
}

function open(path: string): void {
  render(
    <Provider store={store}>
      <MemoryRouter initialEntries={[path]}>
        <Routes>
          <Route path="results/*" element={<ResultsPage />} />
        </Routes>
        <Where />
      </MemoryRouter>
    </Provider>,
  );
}

const where = () => screen.getByTestId("where").textContent;
const asked = (path: string) =>
  sent.filter((each) => each.path === path).map(({ body }) => REQUEST.parse(JSON.parse(body)));

it("shows size, time and warnings before the start, and starts what is chosen", async () => {
  answers["POST /api/exports"] = [202, exportJob()];
  open("/results/export?adapter=till@200");
  expect(await screen.findByText("about 143 MB")).toBeInTheDocument();
  expect(screen.getByText("about 40 s")).toBeInTheDocument();
  expect(screen.getByText("The base has changed since.")).toBeInTheDocument();
  fireEvent.change(screen.getByLabelText("Type of the weights"), { target: { value: "Q4_K_M" } });
  await waitFor(() => expect(screen.getByRole("button", { name: "Export" })).toBeEnabled());
  fireEvent.click(screen.getByRole("button", { name: "Export" }));
  await waitFor(() => expect(where()).toContain("job=j1"));
  expect(asked("/api/exports")).toEqual([{ adapter: "till@200", form: "gguf", type: "Q4_K_M", row_count: 32 }]);
  tell([exportJob()]);
  expect(await screen.findByText("Reading the base model, 25 %")).toBeInTheDocument();
  expect(screen.getByRole("progressbar")).toHaveAttribute("aria-valuenow", "25");
});

it("offers the forms that can hold what is refused", async () => {
  const refusal = { code: "adapter", message: "till is a DoRA", hint: "export to `merged`", field: null };
  answers["POST /api/export-plan"] = [200, { plan: null, refusal, instead: ["merged"] }];
  open("/results/export?adapter=till");
  expect(await screen.findByText(/is a DoRA/)).toBeInTheDocument();
  expect(screen.getByRole("button", { name: "Export" })).toBeDisabled();
  answers["POST /api/export-plan"] = [200, GOOD];
  fireEvent.click(screen.getByRole("button", { name: "Merged model" }));
  await waitFor(() => expect(screen.getByRole("button", { name: "Export" })).toBeEnabled());
  expect(where()).toContain("form=merged");
});

it("replaces an export of the same name only when told to", async () => {
  const refusal = { code: "config", message: "there is one", hint: "", field: "name" };
  answers["POST /api/export-plan"] = [200, { plan: null, refusal, instead: [] }];
  open("/results/export?adapter=till");
  fireEvent.click(await screen.findByRole("button", { name: "Replace it" }));
  await waitFor(() => expect(asked("/api/export-plan").at(-1)).toMatchObject({ replace: true }));
  expect(screen.getByRole("button", { name: "Replace and export" })).toBeInTheDocument();
});

it("goes on after a reload, can be cancelled, and leads to the certificate", async () => {
  answers["DELETE /api/jobs/j1"] = [200, exportJob({ state: "cancelled" })];
  answers["GET /api/exports/till-gguf"] = [200, exported("till-gguf")];
  tell([exportJob()]);
  open("/results/export?adapter=till&form=gguf&job=j1");
  fireEvent.click(await screen.findByRole("button", { name: "Cancel the export of till as gguf" }));
  await waitFor(() => expect(sent.some((each) => each.method === "DELETE")).toBe(true));
  tell([exportJob({ state: "done", export: exported("till-gguf") })]);
  expect(await screen.findByText("Passed: the exported files are what was trained.")).toBeInTheDocument();
  expect(where()).toBe("/results/exports/till-gguf");
  expect(screen.getByRole("link", { name: "Download as a zip" })).toHaveAttribute(
    "href",
    "/api/exports/till-gguf/archive",
  );
  expect(screen.getByRole("region", { name: "code for llama.cpp" })).toHaveTextContent("llama-server");
});

it("says why an export came to nothing, and leads back to its settings", async () => {
  const error = { code: "storage", message: "no room left", hint: "free some space", field: null };
  tell([exportJob({ state: "failed", error })]);
  open("/results/export?adapter=till&form=merged&job=j1");
  expect(await screen.findByText("No room left.")).toBeInTheDocument();
  fireEvent.click(screen.getByRole("button", { name: "Back to the settings" }));
  expect(await screen.findByRole("radio", { name: /Merged model/ })).toBeChecked();
});

it("shows a failed export as failed, without code to use it", async () => {
  const failed = certificate({ verdict: "failed", sentence: "failed: the exported files have a loss of 2.7" });
  answers["GET /api/exports/bad"] = [200, exported("bad", { certificate: failed, usage: [] })];
  open("/results/exports/bad");
  expect(await screen.findByText("Failed: these files are not what was trained.")).toBeInTheDocument();
  expect(screen.getByText("Failed")).toBeInTheDocument();
  expect(screen.queryByText("Use it elsewhere")).toBeNull();
  expect(screen.queryByText("Push to the hub")).toBeNull();
  expect(screen.getByRole("link", { name: "Download the failed export as a zip" })).toBeInTheDocument();
});

const PUSH_PLAN = {
  repo_id: "acme/poet",
  user: "maria",
  exists: false,
  private: true,
  files: { "model.safetensors": 140_000_000, "README.md": 2_000 },
  bytes: 140_002_000,
  removed: [],
  others: [],
  question: "Push 2 files (140 MB) as maria to acme/poet, a new private repository?",
};

async function askToPush(repository: string): Promise<void> {
  fireEvent.change(await screen.findByRole("textbox", { name: "Repository" }), { target: { value: repository } });
  fireEvent.click(screen.getByRole("button", { name: "Push…" }));
}

it("pushes what was agreed to, by name and account, and leads to the repository", async () => {
  const job = exportJob({ id: "p1", kind: "push", title: "good to acme/poet", phase: "uploading model.safetensors" });
  answers["GET /api/exports/good"] = [200, exported("good")];
  answers["POST /api/exports/good/push-plan"] = [200, { plan: PUSH_PLAN, refusal: null }];
  answers["POST /api/exports/good/push"] = [202, job];
  answers["GET /api/jobs/p1"] = [200, job];
  tell([]);
  open("/results/exports/good");
  expect(await screen.findByRole("switch", { name: "Private" })).toBeChecked();
  expect(screen.getByRole("button", { name: "Push…" })).toBeDisabled();
  await askToPush("acme/poet");
  const question = await screen.findByText(PUSH_PLAN.question);
  expect(question).toBeInTheDocument();
  expect(screen.getByText("you and the organisation's members")).toBeInTheDocument();
  expect(screen.getByText("model.safetensors")).toBeInTheDocument();
  expect(asked("/api/exports/good/push")).toEqual([]);
  fireEvent.click(screen.getByText("Push as maria"));
  await waitFor(() => expect(asked("/api/exports/good/push")).toHaveLength(1));
  const wanted = { repo_id: "acme/poet", private: true, overwrite: false };
  expect(asked("/api/exports/good/push-plan")).toEqual([wanted]);
  expect(asked("/api/exports/good/push")).toEqual([{ ...wanted, agreed: PUSH_PLAN.question }]);

  tell([job]);
  expect(await screen.findByText("Uploading model.safetensors, 25 %")).toBeInTheDocument();
  expect(screen.getByRole("button", { name: "Cancel the push of good to acme/poet" })).toBeInTheDocument();
  expect(screen.queryByRole("textbox", { name: "Repository" })).toBeNull();
  const pushed = { repo_id: "acme/poet", url: "https://hub/acme/poet", commit: "c", files: 2, bytes: 9, sent: 9 };
  tell([{ ...job, state: "done", pushed }]);
  expect(await screen.findByRole("link", { name: "Open acme/poet" })).toHaveAttribute(
    "href",
    "https://hub/acme/poet",
  );
});

it.each([
  ["private", "Push to the public repository…", { private: false, overwrite: false }],
  ["overwrite", "Push beside what is there…", { private: true, overwrite: true }],
])("allows what is refused by %s only after a click", async (field, button, wanted) => {
  const refusal = { code: "upload", message: "it is taken", hint: "name another", field };
  answers["GET /api/exports/good"] = [200, exported("good")];
  answers["POST /api/exports/good/push-plan"] = [200, { plan: null, refusal }];
  open("/results/exports/good");
  await askToPush("acme/poet");
  expect(await screen.findByText("It is taken.")).toBeInTheDocument();
  fireEvent.click(screen.getByRole("button", { name: button }));
  await waitFor(() =>
    expect(asked("/api/exports/good/push-plan").at(-1)).toEqual({ repo_id: "acme/poet", ...wanted }),
  );
  expect(asked("/api/exports/good/push")).toEqual([]);
});

it("says why a push ended, keeps the repository, and goes on after a reload", async () => {
  const error = { code: "upload", message: "the connection was lost", hint: "check it", field: null };
  answers["GET /api/exports/good"] = [200, exported("good")];
  tell([exportJob({ id: "p1", kind: "push", title: "good to acme/poet", state: "failed", error })]);
  open("/results/exports/good");
  expect(await screen.findByText("The connection was lost.")).toBeInTheDocument();
  expect(screen.getByRole("textbox", { name: "Repository" })).toHaveValue("acme/poet");
  expect(screen.getByText(/what the hub has whole is not sent again/)).toBeInTheDocument();
});

it("lists exports with their verdicts, damaged ones with their problem, and those under way", async () => {
  const damaged = exported("cut", { problem: "certificate.json is damaged", certificate: null, usage: [] });
  const failed = exported("bad", { certificate: certificate({ verdict: "failed" }) });
  answers["GET /api/exports"] = [200, [exported("good"), failed, damaged]];
  tell([exportJob(), exportJob({ id: "j2", title: "poet as peft", state: "done", export: exported("good") })]);
  open("/results/exports");
  expect(await screen.findByRole("link", { name: "good" })).toHaveAttribute("href", "/results/exports/good");
  for (const label of ["Passed", "Failed", "Cannot be used"]) expect(screen.getByText(label)).toBeInTheDocument();
  expect(screen.getByText("certificate.json is damaged")).toBeInTheDocument();
  expect(screen.getByText("till as gguf")).toBeInTheDocument();
  expect(screen.queryByText("poet as peft")).toBeNull();
});

it("deletes an export after a question", async () => {
  answers["GET /api/exports/good"] = [200, exported("good")];
  answers["GET /api/exports"] = [200, []];
  answers["DELETE /api/exports/good"] = [204, null];
  open("/results/exports/good");
  fireEvent.click(await screen.findByRole("button", { name: "Delete" }));
  fireEvent.click(await screen.findByRole("button", { name: "Delete export" }));
  expect(await screen.findByText("Nothing has been exported yet.")).toBeInTheDocument();
});

it("sends what was filled in and nothing else", () => {
  const draft = {
    adapter: "till",
    which: "",
    form: "mlx" as const,
    type: "4",
    name: " mine ",
    into: "whole",
    rows: "rows.jsonl",
    rowCount: "8",
    replace: false,
  };
  expect(requestOf(draft)).toEqual({
    adapter: "till",
    form: "mlx",
    type: "4",
    name: "mine",
    into: "whole",
    rows: "rows.jsonl",
    row_count: 8,
  });
  expect(requestOf({ ...draft, rowCount: "none" })).toBeNull();
  expect(typeOptions(FORMS[2]!).map(({ label }) => label)).toEqual(["Q8_0 (usual)", "F16", "Q4_K_M"]); // eslint-disable-line @typescript-eslint/no-non-null-assertion -- three are above
});

it("rounds an estimated time as coarsely as it is known", () => {
  expect([3, 41, 100, 1234, 5000].map(coarse)).toEqual([10, 40, 90, 1260, 4800]);
});
