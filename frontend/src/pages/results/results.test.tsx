import { act, configure, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { Provider } from "react-redux";
import { MemoryRouter, Route, Routes, useLocation } from "react-router";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import type { RunSummary } from "@/api";
import { connectionChanged, updated } from "@/state/live";
import { makeStore } from "@/state/store";
import type { AppStore } from "@/state/store";
import { FakeSocket } from "@/test/FakeSocket";
import { adapter, curves, detail, evaluation, run } from "@/test/runs";

import ResultsPage from ".";

vi.mock("@/components/chart", async () => ({
  ...(await vi.importActual("@/components/chart/align")),
  LineChart: ({ summary }: { summary: string }) => <p>{summary}</p>,
  LineSwatch: () => null,
}));

// Finding things by role is slow in jsdom, and machines that test may be busy.
configure({ asyncUtilTimeout: 10_000 });
vi.setConfig({ testTimeout: 30_000 });

interface Sent {
  method: string;
  path: string;
  query: string;
  body: string;
}

let sent: Sent[] = [];
let answers: Record<string, [number, unknown]> = {};
let store: AppStore;

beforeEach(() => {
  sent = [];
  answers = { "GET /api/settings": [200, { settings: [] }] };
  FakeSocket.made = [];
  store = makeStore();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("fetch", async (request: Request) => {
    const { pathname, search } = new URL(request.url);
    sent.push({ method: request.method, path: pathname, query: search, body: await request.text() });
    const [status, body] = answers[`${request.method} ${pathname}`] ?? [200, {}];
    if (status === 204) return new Response(null, { status });
    return new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });
  });
});
afterEach(() => vi.unstubAllGlobals());

function tell(runs: RunSummary[], first = true): void {
  const queue = { running: [], waiting: [], limit: 1 };
  act(() => {
    store.dispatch(connectionChanged("live"));
    store.dispatch(updated({ frame: { type: "update", runs, removed: [], queue, jobs: [] }, first }));
  });
}

function Where() {
  const { pathname, search } = useLocation();
  return <output>{pathname + search}</output>;
}

function open(path: string): void {
  render(
    <Provider store={store}>
      <MemoryRouter initialEntries={[path]}>
        <Routes>
          <Route path="results/*" element={<ResultsPage />} />
          <Route path="*" element={null} />
        </Routes>
        <Where />
      </MemoryRouter>
    </Provider>,
  );
}

const problem = { code: "killed", message: "its worker was ended", hint: "resume it", log_tail: ["last line"] };

it("leads to Setup while there is no run", () => {
  open("/results");
  expect(screen.getByRole("status", { name: "Loading runs" })).toBeInTheDocument();
  tell([]);
  expect(screen.getByText("No run yet.")).toBeInTheDocument();
  expect(screen.getByRole("link", { name: "Set up the first run" })).toHaveAttribute("href", "/setup");
});

it("shows all runs, moves with them, and filters", () => {
  open("/results");
  tell([run("one", { state: "running", step: 10, can_stop: true }), run("two", { created: 1 })]);
  expect(screen.getByText("2 runs")).toBeInTheDocument();
  expect(screen.getByRole("progressbar", { name: "Progress of one" })).toHaveAttribute("aria-valuenow", "13");
  tell([run("one", { state: "finished" })], false);
  expect(screen.queryByRole("progressbar")).not.toBeInTheDocument();
  fireEvent.change(screen.getByLabelText("Search"), { target: { value: "two" } });
  expect(screen.queryByRole("link", { name: "one" })).not.toBeInTheDocument();
  expect(screen.getByText("1 of 2 runs")).toBeInTheDocument();
  fireEvent.change(screen.getByLabelText("Search"), { target: { value: "nowhere" } });
  fireEvent.click(screen.getByRole("button", { name: "Show all runs" }));
  expect(screen.getByText("2 runs")).toBeInTheDocument();
});

it("keeps filters and ticks in the address", async () => {
  open("/results?q=t&pick=two");
  tell([run("two"), run("three"), run("one")]);
  expect(screen.getByLabelText("Search")).toHaveValue("t");
  expect(screen.getByText("1 ticked")).toBeInTheDocument();
  fireEvent.click(screen.getByLabelText("Overlay three"));
  expect(screen.getByRole("link", { name: "Overlay 2 runs" })).toHaveAttribute(
    "href",
    "/results/overlay?run=two&run=three",
  );
  await waitFor(() => expect(screen.getByText("/results?q=t&pick=two&pick=three")).toBeInTheDocument());
});

it("ticks no more than eight runs", () => {
  const many = Array.from({ length: 9 }, (_, at) => run(`run-${at}`));
  open(`/results?${many.map(({ id }) => `pick=${id}`).join("&")}`);
  tell(many);
  expect(screen.getByRole("link", { name: "Overlay 8 runs" })).toBeInTheDocument();
  expect(screen.getByLabelText("Overlay run-8")).toBeDisabled();
  expect(screen.getByLabelText("Overlay run-0")).toBeEnabled();
});

it("renders a thousand runs a portion at a time", () => {
  open("/results");
  tell(Array.from({ length: 1000 }, (_, at) => run(`run-${at}`, { created: 5000 - at })));
  const list = screen.getByRole("list", { name: "Runs" });
  expect(list.children).toHaveLength(50);
  fireEvent.click(screen.getByRole("button", { name: "Show more" }));
  expect(list.children).toHaveLength(100);
});

it("offers what a state allows, and says what failed", async () => {
  answers["POST /api/runs/crashed/resume"] = [
    409,
    { error: { code: "run", message: "no room", hint: "wait", field: null } },
  ];
  open("/results");
  tell([run("crashed", { state: "crashed", can_resume: true, problem }), run("done")]);
  expect(screen.getByText("Its worker was ended")).toBeInTheDocument();
  expect(screen.queryByRole("button", { name: "Resume done" })).not.toBeInTheDocument();
  expect(screen.getByRole("link", { name: "Clone done into Setup" })).toHaveAttribute("href", "/setup?clone=done");
  fireEvent.click(screen.getByRole("button", { name: "Resume crashed" }));
  await waitFor(() => expect(store.getState().toasts).toMatchObject([{ tone: "bad", text: "No room. Wait." }]));
});

it("asks whether the adapter goes too before it deletes", async () => {
  answers["DELETE /api/runs/done"] = [204, null];
  open("/results");
  tell([run("done", { adapter: "till" })]);
  fireEvent.click(screen.getByRole("button", { name: "Delete till" }));
  const dialog = within(screen.getByRole("dialog", { name: "Delete till?" }));
  expect(sent.filter(({ method }) => method === "DELETE")).toEqual([]);
  fireEvent.click(dialog.getByLabelText(/The run and its adapter/));
  fireEvent.click(dialog.getByRole("button", { name: "Delete run and adapter" }));
  await waitFor(() =>
    expect(sent).toContainEqual({ method: "DELETE", path: "/api/runs/done", query: "?files=true", body: "" }),
  );
  await waitFor(() => expect(screen.queryByRole("dialog")).not.toBeInTheDocument());
});

it("shows one run: verdict, checkpoints to take along, settings", async () => {
  const one = run("one", { adapter: "till" });
  answers["GET /api/runs/one"] = [
    200,
    detail(one, {
      evaluations: [evaluation(0, 2.5), evaluation(80, 0.5, true)],
      checkpoints: [
        {
          step: 80,
          loss: 0.5,
          reward: null,
          best: true,
          latest: true,
          resumable: true,
          adapter: "till@80",
          bytes: 117_000_000,
        },
        {
          step: 40,
          loss: null,
          reward: null,
          best: false,
          latest: false,
          resumable: true,
          adapter: null,
          bytes: 1000,
        },
      ],
    }),
  ];
  open("/results/one");
  tell([one]);
  expect(await screen.findByText("Validation loss fell.")).toBeInTheDocument();
  expect(screen.getByRole("link", { name: /Compare\s*step 80/ })).toHaveAttribute(
    "href",
    "/compare?model=tiny-llama&adapter=till%4080",
  );
  expect(screen.getByRole("link", { name: /Download\s*step 80/ })).toHaveAttribute(
    "href",
    "/api/adapters/till/download?which=80",
  );
  expect(screen.getByText("for resuming only")).toBeInTheDocument();
  expect(screen.getByRole("link", { name: "Open the report" })).toHaveAttribute("href", "/api/runs/one/report.html");
  expect(screen.getByText("/home/me/.droidft/runs/one")).toBeInTheDocument();
});

it("says why a run crashed, with the end of its log", async () => {
  const one = run("one", { state: "crashed", can_resume: true, problem });
  answers["GET /api/runs/one"] = [200, detail(one)];
  open("/results/one");
  tell([one]);
  expect(await screen.findByText("Its worker was ended")).toBeInTheDocument();
  expect(screen.getByText("Resume it")).toBeInTheDocument();
  expect(screen.getByRole("region", { name: "last lines of the log", hidden: true })).toHaveTextContent("last line");
});

it("says that a run does not exist", async () => {
  answers["GET /api/runs/gone"] = [404, { error: { code: "not_found", message: "no run", hint: "", field: null } }];
  open("/results/gone");
  tell([]);
  expect(await screen.findByText("There is no such run.")).toBeInTheDocument();
  expect(screen.getByRole("heading", { level: 1, name: "gone" })).toBeInTheDocument();
});

it("lays runs over one another and shows only what differs", async () => {
  answers["GET /api/runs/one/curves"] = [200, curves("one")];
  answers["GET /api/runs/two/curves"] = [200, curves("two")];
  answers["GET /api/runs/three/curves"] = [200, curves("three")];
  const rows = [
    { name: "train_data_path", group: "", values: ["a.jsonl", "b.jsonl"] },
    { name: "adapter_name", group: "", values: ["one", "two"] },
  ];
  answers["GET /api/diff"] = [200, { runs: ["one", "two"], rows }];
  open("/results/overlay?run=one&run=two&run=lost");
  tell([run("one"), run("two"), run("three")]);
  expect(await screen.findByRole("heading", { level: 1, name: "Overlay of 2 runs" })).toBeInTheDocument();
  expect(await screen.findByText("lost")).toBeInTheDocument();
  expect(
    await screen.findByText(/Validation loss of one, from 2.5000 to at best 0.7000; two, from/),
  ).toBeInTheDocument();
  expect(await screen.findByText("These losses are not the same measurement.")).toBeInTheDocument();
  expect(screen.getByText("b.jsonl")).toBeInTheDocument();
  expect(screen.queryByText("adapter_name")).not.toBeInTheDocument();
  fireEvent.click(screen.getByLabelText("Show the lines of two"));
  expect(screen.getByText("Validation loss of one, from 2.5000 to at best 0.7000.")).toBeInTheDocument();
  fireEvent.change(screen.getByLabelText("Add a run"), { target: { value: "three" } });
  await waitFor(() => expect(screen.getByText("/results/overlay?run=one&run=two&run=three")).toBeInTheDocument());
});

it("lists adapters, says why one cannot be used, and examines one", async () => {
  answers["GET /api/adapters"] = [
    200,
    [adapter("good"), adapter("broken", { problem: "adapters.safetensors is damaged", weights: [] })],
  ];
  answers["GET /api/adapters/good"] = [
    200,
    { entry: adapter("good"), which: "best", warnings: [{ code: "base", message: "the base differs" }] },
  ];
  open("/results/adapters");
  tell([]);
  expect(await screen.findByText("adapters.safetensors is damaged")).toBeInTheDocument();
  const [good, broken] = screen.getAllByRole("listitem").map((item) => within(item));
  expect(broken?.queryByRole("link", { name: "Download" })).toBeNull();
  expect(good?.getByRole("link", { name: "Download" })).toHaveAttribute(
    "href",
    "/api/adapters/good/download?which=best",
  );
  fireEvent.change(screen.getByLabelText("Weights"), { target: { value: "200" } });
  expect(good?.getByRole("link", { name: "Compare" })).toHaveAttribute(
    "href",
    "/compare?model=tiny-llama&adapter=good%40200",
  );
  fireEvent.click(screen.getAllByRole("button", { name: "Examine" })[0] ?? document.body);
  expect(await screen.findByText("The base differs")).toBeInTheDocument();
  expect(sent.find(({ path }) => path === "/api/adapters/good")?.query).toBe("?which=200&model=tiny-llama");
});
