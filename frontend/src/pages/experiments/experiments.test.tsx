import { configure, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { Provider } from "react-redux";
import { MemoryRouter, Route, Routes } from "react-router";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { makeStore } from "@/state/store";
import { analysis, contrast, detail, fixed, setting } from "@/test/experiments";

import ExperimentsPage from ".";
import { Breakable } from "./names";

// Finding things by role is slow in jsdom, and machines that test may be busy.
configure({ asyncUtilTimeout: 10_000 });
vi.setConfig({ testTimeout: 30_000 });

let sent: string[] = [];
let answers: Record<string, [number, unknown]> = {};

beforeEach(() => {
  sent = [];
  answers = { "GET /api/settings": [200, { settings: [] }], "GET /api/experiments": [200, []] };
  vi.stubGlobal("fetch", async (request: Request) => {
    const asked = `${request.method} ${new URL(request.url).pathname}`;
    sent.push(asked);
    const [status, body] = await Promise.resolve(answers[asked] ?? [200, {}]);
    if (status === 204) return new Response(null, { status });
    return new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });
  });
});
afterEach(() => vi.unstubAllGlobals());

function open(path: string): void {
  render(
    <Provider store={makeStore()}>
      <MemoryRouter initialEntries={[path]}>
        <Routes>
          <Route path="experiments/*" element={<ExperimentsPage />} />
        </Routes>
      </MemoryRouter>
    </Provider>,
  );
}

it("discards an experiment that is being planned", async () => {
  answers["GET /api/experiments/x1"] = [200, detail({ planning: { phase: "timing full", done: 0, total: 2 } })];
  answers["DELETE /api/experiments/x1"] = [204, null];
  open("/experiments/x1");
  fireEvent.click(await screen.findByRole("button", { name: "Discard" }));
  const dialog = within(await screen.findByRole("dialog"));
  expect(dialog.getByText(/Planning ends; nothing has been trained\./)).toBeInTheDocument();
  fireEvent.click(dialog.getByRole("button", { name: "Discard" }));
  await waitFor(() => expect(sent).toContain("DELETE /api/experiments/x1"));
  expect(await screen.findByText("No experiment yet.")).toBeInTheDocument();
});

it("offers no deletion while runs go on", async () => {
  answers["GET /api/experiments/x1"] = [200, detail({ state: "running", runs: 7 })];
  open("/experiments/x1");
  expect(await screen.findByRole("button", { name: "Pause" })).toBeInTheDocument();
  expect(screen.queryByRole("button", { name: /Discard|Delete/ })).not.toBeInTheDocument();
});

it("shows what is trained on what before the start", async () => {
  answers["GET /api/settings"] = [200, { settings: [setting("batch_size", 1)] }];
  answers["GET /api/experiments/x1"] = [
    200,
    { ...detail({ state: "planned", runs: 7 }), analysis: analysis(fixed()) },
  ];
  open("/experiments/x1");
  const card = within(await screen.findByRole("region", { name: "The plan, fixed before the first step" }));
  for (const text of ["tiny-llama", "/home/me/models/tiny-llama", "orders.jsonl", "/data/orders.jsonl"])
    expect(card.getByText(text)).toBeInTheDocument();
  expect(card.getByText("mask_prompt:").nextSibling).toHaveTextContent("on");
  expect((await card.findByText("batch_size:")).nextSibling).toHaveTextContent("1 (default)");
  expect(card.getByText(/^1,200 rows in 800 groups.*only groups count as independent/)).toBeInTheDocument();
  expect(card.getByText(/Memory is the most that MLX had in use/)).toBeInTheDocument();
});

it.each([
  ["several seeds", [-0.031, -0.029], "(seeds and test rows both vary)"],
  ["one seed", [-0.03], "(only test rows vary)"],
])("says what varies with %s, and shows the plot that the server draws", async (_, perSeed, said) => {
  const found = analysis(fixed(), { contrasts: [contrast({ per_seed: perSeed })] });
  const differences = '<svg role="img" aria-labelledby="t"><title id="t">Differences of the test loss</title></svg>';
  answers["GET /api/experiments/x1"] = [
    200,
    { ...detail({ state: "finished", runs: 3, done: 3 }), analysis: found, figures: { differences, efficiency: "" } },
  ];
  open("/experiments/x1");
  expect(await screen.findByText((text) => text.includes(said))).toBeInTheDocument();
  expect(screen.getByRole("img", { name: "Differences of the test loss" })).toBeInTheDocument();
  expect(screen.queryByRole("region", { name: "Data efficiency" })).toBeNull();
});

it("breaks names after underscores only", () => {
  const { container } = render(<Breakable text="lora_rank 8, lora_keys a,b" />);
  expect(container.innerHTML).toBe("lora_<wbr>rank 8, lora_<wbr>keys a,<wbr>b");
});
