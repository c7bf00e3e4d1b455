import { fireEvent, render, screen } from "@testing-library/react";
import { expect, it, vi } from "vitest";

import { VirtualList } from "./VirtualList";

vi.setConfig({ testTimeout: 30_000 });

function list(extra: Partial<Parameters<typeof VirtualList>[0]> = {}) {
  return (
    <VirtualList
      label="Rows"
      count={100_000}
      rowHeight={20}
      height={200}
      render={(index) => `row ${index}`}
      {...extra}
    />
  );
}

/** jsdom lays nothing out: say how tall things are, and scroll. */
function scrollTo(element: HTMLElement, top: number, whole: number): void {
  Object.defineProperty(element, "scrollHeight", { value: whole, configurable: true });
  Object.defineProperty(element, "clientHeight", { value: 200, configurable: true });
  element.scrollTop = top;
  fireEvent.scroll(element);
}

it("makes only the rows in sight", () => {
  render(list());
  const region = screen.getByRole("region", { name: "Rows" });
  expect(screen.getAllByText(/^row /).length).toBeLessThan(50);
  scrollTo(region, 1_000_000, 2_000_000);
  expect(screen.getByText("row 50000")).toBeInTheDocument();
  expect(screen.queryByText("row 0")).toBeNull();
  expect(screen.getAllByText(/^row /).length).toBeLessThan(50);
});

it("stays at the end until scrolled up, and offers the way back", () => {
  const { rerender } = render(list());
  const region = screen.getByRole("region");
  scrollTo(region, 0, 2_000_000);
  expect(region.scrollTop).toBe(2_000_000);
  expect(screen.queryByText(/Jump/)).toBeNull();
  fireEvent.wheel(region);
  scrollTo(region, 400, 2_000_000);
  expect(screen.getByRole("button", { name: "Jump to newest" })).toBeInTheDocument();
  rerender(list({ count: 100_025 }));
  expect(region.scrollTop).toBe(400);
  fireEvent.click(screen.getByRole("button", { name: "Jump to newest (25 new)" }));
  expect(region.scrollTop).toBe(2_000_000);
  rerender(list({ count: 100_030 }));
  Object.defineProperty(region, "scrollHeight", { value: 2_000_600 });
  rerender(list({ count: 100_031 }));
  expect(region.scrollTop).toBe(2_000_600);
});

it("is walked through by keys where rows can be chosen", () => {
  const onSelect = vi.fn();
  const { rerender } = render(list({ selected: null, onSelect }));
  const box = screen.getByRole("listbox", { name: "Rows" });
  fireEvent.keyDown(box, { key: "ArrowUp" });
  expect(onSelect).toHaveBeenLastCalledWith(99_999);
  rerender(list({ selected: 5, onSelect }));
  expect(screen.getByRole("option", { selected: true })).toHaveTextContent("row 5");
  expect(box).toHaveAttribute("aria-activedescendant", screen.getByRole("option", { selected: true }).id);
  fireEvent.keyDown(box, { key: "ArrowDown" });
  expect(onSelect).toHaveBeenLastCalledWith(6);
  fireEvent.keyDown(box, { key: "Home" });
  expect(onSelect).toHaveBeenLastCalledWith(0);
  fireEvent.keyDown(box, { key: "Escape" });
  expect(onSelect).toHaveBeenLastCalledWith(null);
  fireEvent.click(screen.getByText("row 5"));
  expect(onSelect).toHaveBeenLastCalledWith(null);
});
