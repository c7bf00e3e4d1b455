import { configure, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { Provider } from "react-redux";
import { MemoryRouter, Route, Routes } from "react-router";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { makeStore } from "@/app/store";

import ExperimentsPage from ".";
import { detail } from "./samples";

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
