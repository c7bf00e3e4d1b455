import { configure, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { Provider } from "react-redux";
import { MemoryRouter } from "react-router";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { AdapterEntry, ModelEntry, Shares, StreamEvent } from "@/api";
import { compareRequest } from "@/api/generatedSchemas";
import { makeStore } from "@/state/store";

import { formStore, initialForm } from "./form";
import { historyStore } from "./history";
import ComparePage from "./index";
import { ADAPTER, answered, BASE, MODEL, ORDERS } from "./testing";
import { votesStore } from "./votes";

/** What one vote for the second of two sides adds up to, as the server counts it. */
const UNDECIDED: Shares = {
  shares: [
    { share: 0, low: 0, high: 0.793 },
    { share: 1, low: 0.207, high: 1 },
  ],
  chance: 0.5,
  level: 0.95,
  preferred: null,
};

/** A server whose stream says what a test tells it to. */
class FakeServer {
  models: ModelEntry[] = [MODEL];
  adapters: AdapterEntry[] = [ADAPTER, { ...ADAPTER, name: "poems", base: "/home/models/other" }];
  asked: unknown[] = [];
  signal: AbortSignal | null = null;
  private controller: ReadableStreamDefaultController<Uint8Array> | null = null;

  readonly fetch = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const url = typeof input === "string" ? input : input instanceof URL ? input.href : input.url;
    const path = new URL(url, "http://localhost").pathname;
    if (path === "/api/models/inference/stream") return this.stream(init);
    if (path === "/api/models") return Response.json(this.models);
    if (path === "/api/adapters") return Response.json(this.adapters);
    if (path === "/api/votes/shares") return Response.json(UNDECIDED);
    if (path === "/api/inference") return Response.json({ model: null, busy: false, waiting: 0, memory: null });
    const entry = this.adapters.find(({ name }) => path === `/api/adapters/${name}`);
    if (entry) return Promise.resolve(Response.json({ entry, which: "best", warnings: [] }));
    return Response.json({ error: { code: "not_found", message: path, hint: "", field: null } }, { status: 404 });
  };

  private stream(init: RequestInit | undefined): Response {
    this.asked.push(JSON.parse(typeof init?.body === "string" ? init.body : ""));
    this.signal = init?.signal ?? null;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.controller = controller;
        this.signal?.addEventListener("abort", () => controller.error(new DOMException("aborted", "AbortError")));
      },
    });
    return new Response(body);
  }

  /** What the sides of the last request are, in its order. */
  sides(): (string | null)[] {
    return compareRequest.safeParse(this.asked.at(-1)).data?.adapters ?? [];
  }

  say(...events: StreamEvent[]): void {
    const text = events
      .map(
        (event) => `${JSON.stringify(event)}
`,
      )
      .join("");
    this.controller?.enqueue(new TextEncoder().encode(text));
  }

  end(): void {
    this.controller?.close();
  }

  /** Every side answers with its own name. */
  async answerAll(): Promise<void> {
    for (const [side, adapter] of this.sides().entries()) {
      this.say(
        { type: "start", side, adapter_details: adapter === null ? BASE : ORDERS, seed: 1 },
        { type: "text", side, text: `said by ${adapter ?? "the base"}` },
        END(side),
      );
    }
    this.end();
    await screen.findByRole("button", { name: "Regenerate" });
  }
}

const END = (side: number): StreamEvent => ({
  type: "end",
  side,
  finish_reason: "stop",
  prompt_tokens: 9,
  tokens: 4,
  tokens_per_second: 33,
});

vi.setConfig({ testTimeout: 30_000 });
configure({ asyncUtilTimeout: 10_000 });
let server: FakeServer;

beforeEach(() => {
  server = new FakeServer();
  vi.stubGlobal("fetch", vi.fn(server.fetch));
  formStore.set(initialForm());
  historyStore.set([]);
  votesStore.set([]);
  Element.prototype.scrollIntoView = () => undefined;
});
afterEach(() => vi.unstubAllGlobals());

function open(address = "/compare") {
  return render(
    <Provider store={makeStore()}>
      <MemoryRouter initialEntries={[address]}>
        <ComparePage />
      </MemoryRouter>
    </Provider>,
  );
}

const prompt = () => screen.findByRole("textbox", { name: "Prompt" });
const column = (name: string) => screen.getByRole("region", { name });
const press = (name: string | RegExp) => fireEvent.click(screen.getByRole("button", { name }));

async function send(text = "Hello") {
  const asked = server.asked.length;
  const box = await prompt();
  fireEvent.change(box, { target: { value: text } });
  fireEvent.keyDown(box, { key: "Enter", ctrlKey: true });
  await waitFor(() => expect(server.asked.length).toBe(asked + 1));
}

describe("asking", () => {
  it("streams into columns, base first, as plain text", async () => {
    open();
    await send();
    expect(server.asked).toMatchObject([{ prompt: "Hello", model_name: "tiny", adapters: [null, "orders@best"] }]);
    server.say({ type: "phase", text: "loading model tiny" });
    expect(await screen.findByText("Loading model tiny …")).toBeVisible();
    server.say(
      { type: "start", side: 0, adapter_details: BASE, seed: 1 },
      { type: "text", side: 0, text: "<b>one</b>" },
      { type: "text", side: 1, text: "two" },
    );
    expect(await within(column("Base")).findByText("<b>one</b>")).toHaveAttribute("aria-busy", "true");
    server.say(END(0), { type: "start", side: 1, adapter_details: ORDERS, seed: 1 }, END(1));
    server.end();
    expect(await screen.findByText("All answers are complete: 2 answers.")).toBeInTheDocument();
    expect(within(column("Base")).getByText("<b>one</b>")).toHaveAttribute("aria-busy", "false");
    expect(within(column("orders · best")).getByText("33 tok/s")).toBeVisible();
    expect(within(column("orders · best")).getByText("Adapts 16 of the model's 30 blocks.")).toBeVisible();
    expect(historyStore.get()).toHaveLength(1);
  });

  it("goes on with the others when a side cannot answer", async () => {
    open();
    await send();
    const error = { code: "adapter", message: "adapter orders does not fit", hint: "", field: null };
    server.say({ type: "error", side: 1, error }, { type: "text", side: 0, text: "fine" }, END(0));
    server.end();
    expect(await within(column("orders · best")).findByText(/adapter orders does not fit/i)).toBeVisible();
    expect(await screen.findByText("Complete; could not answer: orders · best.")).toBeInTheDocument();
    expect(within(column("Base")).getByText("fine")).toBeVisible();
  });

  it("stops when told to, and keeps what was said", async () => {
    open();
    await send();
    server.say({ type: "text", side: 0, text: "partly" });
    await screen.findByText("partly");
    const [stop] = screen.getAllByRole("button", { name: "Stop" });
    if (!stop) throw new Error("a button");
    fireEvent.click(stop);
    expect(server.signal?.aborted).toBe(true);
    expect(historyStore.get()).toMatchObject([{ state: "stopped", sides: [{ text: "partly" }, { text: "" }] }]);
    expect(screen.getByRole("button", { name: "Compare" })).toBeEnabled();
  });

  it("stops when the page is left", async () => {
    const { unmount } = open();
    await send();
    unmount();
    expect(server.signal?.aborted).toBe(true);
    expect(historyStore.get()).toMatchObject([{ state: "stopped" }]);
  });

  it("takes its sides from the address", async () => {
    open("/compare?model=tiny&adapter=poems@20&adapter=orders");
    await send();
    expect(server.sides()).toEqual([null, "poems@20", "orders@best"]);
    expect(screen.getByText(/It says it was trained on/)).toBeVisible();
  });
});

describe("blind", () => {
  async function blind() {
    open();
    await prompt();
    fireEvent.click(screen.getByRole("switch", { name: "Blind" }));
    await send();
    await server.answerAll();
  }

  it("names no side, no figure and no detail before the vote", async () => {
    await blind();
    for (const name of ["Answer A", "Answer B"]) {
      expect(column(name)).not.toHaveTextContent(/tok\/s|rank|warning|details|orders · best$|Base$/);
    }
    expect(screen.queryByRole("region", { name: "Base" })).toBeNull();
    expect(screen.queryByRole("button", { name: "Export" })).toBeNull();
    expect(screen.queryByRole("button", { name: "Copy as Markdown" })).toBeNull();
  });

  it("counts the vote for the side behind the letter, and shows who was who", async () => {
    await blind();
    press("B is better");
    const winner = server.sides()[1] ?? null;
    expect(votesStore.get()).toMatchObject([{ outcome: "side", letter: "B", winner }]);
    expect(column(winner === null ? "Base" : "orders · best")).toHaveTextContent("your vote");
    expect(await screen.findByText("No preference detectable yet.")).toBeVisible();
    expect(screen.queryByRole("button", { name: "B is better" })).toBeNull();
  });

  it("puts the sides in either order", async () => {
    const orders = new Set<string>();
    open();
    await prompt();
    fireEvent.click(screen.getByRole("switch", { name: "Blind" }));
    for (let round = 0; round < 30 && orders.size < 2; round += 1) {
      await send("x");
      await server.answerAll();
      orders.add(server.sides().join());
    }
    expect(orders.size).toBe(2);
  });
});

describe("the history", () => {
  it("brings back answers and form, and what was typed is not lost", async () => {
    historyStore.set([answered({ temperature: 0.2 }, { id: "old" })]);
    open();
    fireEvent.change(await prompt(), { target: { value: "unsent" } });
    press(/^A flat white/);
    expect(await prompt()).toHaveValue("A flat white, please.");
    expect(screen.getByLabelText("Temperature")).toHaveValue("0.2");
    expect(within(column("Base")).getByText("Sorry.")).toBeVisible();
    press("Restore it");
    expect(await prompt()).toHaveValue("unsent");
  });
});

describe("with nothing there", () => {
  it("leads to Setup without adapters, and asks the base alone", async () => {
    server.adapters = [];
    open();
    expect(await screen.findByRole("link", { name: "Train one in Setup" })).toHaveAttribute("href", "/setup");
    await send();
    expect(server.sides()).toEqual([null]);
  });

  it("leads to Setup without models", async () => {
    server.models = [{ ...MODEL, installed: false }];
    open();
    expect(await screen.findByRole("link", { name: "Go to Setup" })).toBeVisible();
  });
});
