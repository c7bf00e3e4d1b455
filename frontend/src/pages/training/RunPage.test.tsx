import { act, configure, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { Provider } from "react-redux";
import { MemoryRouter } from "react-router";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import type { QueueView, RunSummary } from "@/api";
import { connectionChanged, updated } from "@/state/live";
import { makeStore } from "@/state/store";
import type { AppStore } from "@/state/store";
import { FakeSocket } from "@/test/FakeSocket";
import { evaluation, records, report, rewinds, run, started, warning } from "@/test/records";

import TrainingPage from ".";

vi.mock("@/components/chart", async () => ({
  ...(await vi.importActual("@/components/chart/align")),
  LineChart: ({ summary }: { summary: string }) => <p>{summary}</p>,
  Sparkline: () => null,
}));

// Finding things by role is slow in jsdom, and machines that test may be busy.
configure({ asyncUtilTimeout: 10_000 });
vi.setConfig({ testTimeout: 30_000 });

interface Sent {
  method: string;
  path: string;
  body: string;
}

let sent: Sent[] = [];
let answers: Record<string, [number, unknown]> = {};
let store: AppStore;

beforeEach(() => {
  sent = [];
  answers = {};
  FakeSocket.made = [];
  store = makeStore();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("fetch", async (request: Request) => {
    const path = new URL(request.url).pathname;
    sent.push({ method: request.method, path, body: await request.text() });
    const [status, body] = answers[`${request.method} ${path}`] ?? [200, {}];
    return new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });
  });
});
afterEach(() => vi.unstubAllGlobals());

function tell(runs: RunSummary[], waiting: string[] = [], first = false): void {
  const queue: QueueView = {
    running: runs.filter((one) => one.state === "running").map((one) => one.id),
    waiting: waiting.map((id) => ({ run: id, action: "start", added: 1000 })),
    limit: 1,
  };
  act(() => {
    store.dispatch(connectionChanged("live"));
    store.dispatch(updated({ frame: { type: "update", runs, removed: [], queue, jobs: [] }, first }));
  });
}

function open(path: string): void {
  render(
    <Provider store={store}>
      <MemoryRouter initialEntries={[path]}>
        <TrainingPage />
      </MemoryRouter>
    </Provider>,
  );
}

async function hear(events: Parameters<typeof records>[0]): Promise<void> {
  await act(async () => {
    await vi.waitFor(() => FakeSocket.latest);
    FakeSocket.latest.open();
    const all = records(events);
    FakeSocket.latest.send({
      type: "records",
      records: all,
      rewinds: rewinds(all),
      last: all.length,
      caught_up: true,
    });
    await new Promise((resolve) => setTimeout(resolve, 400));
  });
}

function posted(path: string): Sent[] {
  return sent.filter((one) => one.method === "POST" && one.path === path);
}

it("follows a run: state, figures, curves, log, warnings", async () => {
  tell([run({ id: "follow" })], [], true);
  open("/follow");
  expect(screen.getByRole("heading", { level: 1 })).toHaveTextContent("firstRunning");
  expect(screen.getByText(/9,768,960 trainable \(7.26 %\)/)).toBeInTheDocument();
  expect(screen.getByRole("progressbar")).toHaveAttribute("aria-valuenow", "50");
  await hear([started(), warning("row 12 is cut"), evaluation(0, 2.5), report(5, 2), report(10, 1)]);
  expect(screen.getByText(/Training loss went from 2.0000 at step 5 to 1.0000 at step 10./)).toBeInTheDocument();
  expect(screen.getByText("5 events")).toBeInTheDocument();
  const log = screen.getByRole("listbox", { name: /Events/ });
  expect(within(log).getByText("Evaluation at step 0")).toBeInTheDocument();
  const warnings = screen.getByRole("region", { name: "1 warning" });
  expect(within(warnings).getByText("row 12 is cut")).toBeInTheDocument();
  fireEvent.click(screen.getByRole("button", { name: "Warnings", pressed: true }));
  expect(await screen.findByText("4 of 5 events")).toBeInTheDocument();
});

it("shows rewards, panels and completions of a run that learns from rewards, and its warnings first", async () => {
  tell([run({ id: "rewarded", method: "grpo", first_loss: -0.25, best_loss: -0.5, last_eval_loss: -0.5 })], [], true);
  open("/rewarded");
  const metrics = { reward: 0.4, reward_std: 0.1, "reward/a": 0.3, "reward/b": 0.1, tied_groups: 0.5, truncated: 0 };
  const rest = { place: "d.jsonl:1", prompt: "Why?", rewards: { a: 1, b: 0 }, reward: 1, advantage: 1, tokens: 3 };
  await hear([
    started(),
    { type: "warning", code: "all_tied", message: "all groups were tied for 10 steps" },
    evaluation(0, -0.25, [0, -0.25], { reward: 0.25 }),
    report(1, 0, metrics),
    { type: "completions", step: 1, rows: [{ ...rest, completion: "Because.", truncated: true }] },
  ]);
  expect(screen.getByText("Nothing is being learned.")).toBeInTheDocument();
  expect(screen.getByText(/Mean reward went from 0.4 at step 1/)).toBeInTheDocument();
  for (const name of ["Reward", "Each reward", "Tied groups", "Cut off", "Loss", "Sampled completions"])
    expect(screen.getByRole("region", { name })).toBeInTheDocument();
  expect(screen.getByText(/About zero is normal/)).toBeInTheDocument();
  expect(screen.queryByRole("region", { name: "KL divergence" })).toBeNull();
  expect(screen.getByText("Because.")).toBeInTheDocument();
  expect(screen.getByText("± 0.1 in the step")).toBeInTheDocument();
  expect(screen.getByRole("link", { name: "Clone into Enhanced Setup" })).toHaveAttribute(
    "href",
    "/enhanced?clone=rewarded",
  );
});

it("counts the time left down, and says none before a resumed run has reported", async () => {
  tell([run({ id: "left", seconds_left: 1e10 })], [], true);
  open("/left");
  await hear([started(), report(5, 2)]);
  expect(screen.getByText(/50 % · .* left/)).toBeInTheDocument();
  await act(async () => {
    const resumed = records([started(), report(5, 2), started(5)]);
    FakeSocket.latest.send({
      type: "records",
      records: resumed,
      rewinds: rewinds(resumed),
      last: 3,
      caught_up: true,
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
  });
  expect(screen.getByText("50 %")).toBeInTheDocument();
});

it("stops after asking, and kills only one that does not stop", async () => {
  tell([run({ id: "stop" })], [], true);
  open("/stop");
  expect(screen.queryByRole("button", { name: "Kill now" })).toBeNull();
  fireEvent.click(screen.getByRole("button", { name: "Stop" }));
  expect(sent).toEqual([]);
  fireEvent.click(screen.getByRole("button", { name: "Save a checkpoint and end" }));
  await waitFor(() => expect(posted("/api/runs/stop/stop").map((one) => one.body)).toEqual(['{"force":false}']));
  tell([run({ id: "stop", state: "stopping" })]);
  expect(screen.queryByRole("button", { name: "Stop" })).toBeNull();
  fireEvent.click(screen.getByRole("button", { name: "Kill now" }));
  expect(screen.getByText(/last checkpoint \(step 20 of 40 done\) is lost/)).toBeInTheDocument();
  fireEvent.click(screen.getByRole("button", { name: "Kill it" }));
  await waitFor(() => expect(posted("/api/runs/stop/stop").at(-1)?.body).toBe('{"force":true}'));
});

it("says why a request was refused, and lets one try again", async () => {
  answers["POST /api/runs/sorry/resume"] = [
    409,
    { error: { code: "run", message: "the data has changed", hint: "put it back", field: null } },
  ];
  tell([run({ id: "sorry", state: "stopped", can_resume: true })], [], true);
  open("/sorry");
  fireEvent.click(screen.getByRole("button", { name: "Resume" }));
  const alert = await screen.findByRole("alert");
  expect(alert).toHaveTextContent(/the data has changed.*put it back/i);
  expect(screen.getByRole("button", { name: "Resume" })).toBeEnabled();
  answers = {};
  fireEvent.click(within(alert).getByRole("button", { name: "Try again" }));
  await waitFor(() => expect(screen.queryByRole("alert")).toBeNull());
  expect(posted("/api/runs/sorry/resume")).toHaveLength(2);
});

it("shows what is known of a crash", () => {
  const problem = {
    code: "killed",
    message: "its worker was ended by the signal SIGKILL",
    hint: "see its log",
    signal: "SIGKILL",
    log_tail: ["\u001b[31mTraceback\u001b[0m", "<b>x</b>"],
  };
  tell([run({ id: "crash", state: "crashed", problem, can_resume: true, phase: null })], [], true);
  open("/crash");
  expect(screen.getByRole("alert")).toHaveTextContent("Its worker was ended by the signal SIGKILL");
  expect(screen.getByText("SIGKILL")).toBeInTheDocument();
  expect(screen.getByRole("region", { name: "end of the log" }).textContent).toBe("Traceback\n<b>x</b>");
  expect(screen.getByRole("button", { name: "Resume" })).toBeEnabled();
});

it("says how long a run has been silent", () => {
  tell([run({ id: "quiet", heard: Date.now() / 1000 - 42 })], [], true);
  open("/quiet");
  expect(screen.getByText("No report for 42 s.")).toBeInTheDocument();
  tell([run({ id: "quiet", heard: Date.now() / 1000 })]);
  expect(screen.queryByText(/No report/)).toBeNull();
});

it("leads on from a finished run", () => {
  tell([run({ id: "done", state: "finished", phase: null, ended: 2000, best_loss: 0.25 })], [], true);
  open("/done");
  expect(screen.getByText(/The base model had 2.5000: 90 % less/)).toBeInTheDocument();
  const hrefs = screen.getAllByRole("link").map((link) => link.getAttribute("href"));
  expect(hrefs).toEqual(
    expect.arrayContaining(["/compare?model=tiny&adapter=first", "/results/done", "/setup?clone=done"]),
  );
});

it("tells a run that is not there from one that is not known yet", async () => {
  answers["GET /api/runs/gone"] = [
    404,
    { error: { code: "not_found", message: "there is no run 'gone'", hint: "", field: null } },
  ];
  open("/gone");
  expect(screen.getByRole("status")).toHaveTextContent("Loading the run…");
  tell([], [], true);
  expect(await screen.findByText("There is no run gone.")).toBeInTheDocument();
  tell([run({ id: "gone" })]);
  expect(screen.getByRole("heading", { level: 1 })).toHaveTextContent("first");
});

it("leads to Setup when nothing trains", () => {
  open("/");
  expect(screen.getByText("Loading…")).toBeInTheDocument();
  tell([], [], true);
  expect(screen.getByText("Nothing is training.")).toBeInTheDocument();
  expect(screen.getAllByRole("link", { name: "Set up a run" })[0]).toHaveAttribute("href", "/setup");
});

it("reorders the queue by buttons, keeps the focus, and says what happened", async () => {
  const names = ["a", "b", "c"].map((id) => run({ id, adapter: `run ${id}`, state: "queued", started: null }));
  tell(names, ["a", "b", "c"], true);
  open("/");
  const order = () => screen.getAllByRole("listitem").map((item) => /run (\w)/.exec(item.textContent)?.[1]);
  expect(order()).toEqual(["a", "b", "c"]);
  expect(screen.getByRole("button", { name: "Move run a up" })).toBeDisabled();
  const down = screen.getByRole("button", { name: "Move run a down" });
  down.focus();
  fireEvent.click(down);
  expect(order()).toEqual(["b", "a", "c"]);
  expect(document.activeElement).toBe(screen.getByRole("button", { name: "Move run a down" }));
  expect(screen.getByText("run a is now number 2 of 3.")).toBeInTheDocument();
  await waitFor(() => expect(posted("/api/queue/a/move").map((one) => one.body)).toEqual(['{"position":1}']));
  tell(names, ["b", "a", "c"]);
  await waitFor(() => expect(order()).toEqual(["b", "a", "c"]));
});

it("puts the order back when a move is refused", async () => {
  answers["POST /api/queue/b/move"] = [
    409,
    { error: { code: "run", message: "run b is not in the queue", hint: "it may have begun already", field: null } },
  ];
  tell([run({ id: "a", state: "queued" }), run({ id: "b", adapter: "second", state: "queued" })], ["a", "b"], true);
  open("/");
  fireEvent.click(screen.getByRole("button", { name: "Move second up" }));
  expect(await screen.findByRole("alert")).toHaveTextContent(/run b is not in the queue/i);
  expect(screen.getAllByRole("listitem")[1]).toHaveTextContent("second");
});

it("takes a run out of the queue", async () => {
  tell([run({ id: "a", state: "queued" })], ["a"], true);
  open("/");
  fireEvent.click(screen.getByRole("button", { name: "Remove first from the queue" }));
  await waitFor(() => expect(sent.map((one) => `${one.method} ${one.path}`)).toContain("DELETE /api/queue/a"));
  await waitFor(() =>
    expect(store.getState().toasts.map((toast) => toast.title)).toEqual(["first was removed from the queue"]),
  );
});
