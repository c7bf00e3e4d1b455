import { act, render, screen, waitFor } from "@testing-library/react";
import { Provider } from "react-redux";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { useListAdaptersQuery } from "@/api";
import { makeStore } from "@/state/store";
import { FakeSocket } from "@/test/FakeSocket";

import { useUpdates } from "./updates";

const FRAME = { type: "update", runs: [], removed: [], queue: { running: [], waiting: [], limit: 1 }, jobs: [] };

function Page() {
  useUpdates();
  const { data, error } = useListAdaptersQuery();
  return <p>{error ? "no answer" : data ? `${data.length} adapters` : "asking"}</p>;
}

beforeEach(() => {
  FakeSocket.made = [];
  vi.stubGlobal("WebSocket", FakeSocket);
});
afterEach(() => vi.unstubAllGlobals());

it("asks again for what got no answer, once the server is back", async () => {
  let up = false;
  vi.stubGlobal("fetch", () => (up ? Promise.resolve(Response.json([])) : Promise.reject(new TypeError("refused"))));
  const store = makeStore();
  render(
    <Provider store={store}>
      <Page />
    </Provider>,
  );
  await waitFor(() => FakeSocket.latest);
  act(() => {
    FakeSocket.latest.open();
    FakeSocket.latest.send(FRAME);
  });
  await waitFor(() => expect(screen.getByText("no answer")).toBeInTheDocument());
  act(() => FakeSocket.latest.drop());
  expect(store.getState().live.connection).toBe("lost");
  up = true;
  await waitFor(() => expect(FakeSocket.made).toHaveLength(2), { timeout: 5000 });
  act(() => {
    FakeSocket.latest.open();
    FakeSocket.latest.send(FRAME);
  });
  expect(await screen.findByText("0 adapters")).toBeInTheDocument();
});
