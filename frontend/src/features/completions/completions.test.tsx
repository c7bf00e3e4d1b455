import { fireEvent, render, screen, within } from "@testing-library/react";
import { expect, it } from "vitest";

import type { SampledCompletion } from "@/api";

import { CompletionsCard, groupsOf, signed } from "./CompletionsCard";

function row(changes: Partial<SampledCompletion> = {}): SampledCompletion {
  return {
    place: "data.jsonl:3",
    prompt: "What is 1 + 1?",
    completion: "2",
    rewards: { numeric_answer: 1, length_window: 0.5 },
    reward: 1.5,
    advantage: 1,
    tokens: 2,
    truncated: false,
    ...changes,
  };
}

it("puts a prompt's completions together, and knows ties", () => {
  const other = { place: "data.jsonl:9", prompt: "Else?", advantage: 0 };
  const groups = groupsOf([row(), row(other), row({ advantage: -1 }), row(other)]);
  expect(groups.map(({ place, rows, tied }) => [place, rows.length, tied])).toEqual([
    ["data.jsonl:3", 2, false],
    ["data.jsonl:9", 2, true],
  ]);
  expect([1.234, -0.5, 0].map(signed)).toEqual(["+1.23", "−0.50", "0"]);
});

it("shows the newest step until another is chosen", () => {
  const steps = [1, 2, 3].map((step) => ({
    type: "completions" as const,
    step,
    rows: [row({ completion: `answer of ${step}`, truncated: step === 1 })],
  }));
  const { rerender } = render(<CompletionsCard completions={steps} empty="none" />);
  expect(screen.getByText("answer of 3")).toBeInTheDocument();
  expect(screen.getByRole("button", { name: "Next step" })).toBeDisabled();
  fireEvent.change(screen.getByRole("slider", { name: "Step of the completions" }), { target: { value: "0" } });
  const table = screen.getByRole("region", { name: "Completions and rewards of data.jsonl:3" });
  expect(
    within(table)
      .getAllByRole("columnheader")
      .map((one) => one.textContent),
  ).toEqual(["Completion", "numeric_answer", "length_window", "Sum", "Advantage", "Tokens"]);
  expect(within(table).getByText("answer of 1")).toBeInTheDocument();
  expect(within(table).getByText("cut off")).toBeInTheDocument();
  const more = [...steps, { type: "completions" as const, step: 4, rows: [row({ completion: "answer of 4" })] }];
  rerender(<CompletionsCard completions={more} empty="none" />);
  expect(screen.getByText("answer of 1")).toBeInTheDocument();
  fireEvent.click(screen.getByRole("button", { name: "Jump to newest" }));
  expect(screen.getByText("answer of 4")).toBeInTheDocument();
});

it("says why there is nothing", () => {
  render(<CompletionsCard completions={[]} empty="They come later." />);
  expect(screen.getByText("They come later.")).toBeInTheDocument();
});
