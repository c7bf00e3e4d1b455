import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { describe, expect, it } from "vitest";

import { parseNumber } from "@/lib/numbers";

import { NumberField, Switch } from ".";

const RULES = { min: 0, above: true, max: 1 };

function Form() {
  const [text, setText] = useState("1e-4");
  const parsed = parseNumber(text, RULES);
  return (
    <>
      <NumberField label="Learning rate" hint="About ten times." text={text} onText={setText} rules={RULES} />
      <output>{parsed.kind === "number" ? parsed.value : parsed.kind}</output>
    </>
  );
}

describe("NumberField", () => {
  it("can be cleared and typed into, and never becomes a default", async () => {
    render(<Form />);
    const field = screen.getByLabelText("Learning rate");
    await userEvent.clear(field);
    expect(field).toHaveValue("");
    expect(field).toBeInvalid();
    expect(screen.getByRole("status")).toHaveTextContent("bad");
    for (const [key, value, meaning] of [
      ["5", "5", "bad"],
      ["{Backspace}0", "0", "bad"],
      [".", "0.", "bad"],
      ["0", "0.0", "bad"],
      ["3", "0.03", "0.03"],
    ] as const) {
      await userEvent.type(field, key);
      expect(field).toHaveValue(value);
      expect(screen.getByRole("status")).toHaveTextContent(meaning);
    }
    await userEvent.clear(field);
    await userEvent.type(field, "5e-4");
    expect(screen.getByRole("status")).toHaveTextContent("0.0005");
    expect(field).not.toBeInvalid();
  });

  it("says what is wrong where a screen reader finds it", async () => {
    render(<Form />);
    const field = screen.getByLabelText("Learning rate");
    expect(field).toHaveAccessibleDescription("About ten times.");
    await userEvent.clear(field);
    await userEvent.type(field, "2");
    expect(field).toHaveAccessibleDescription("Must be at most 1.");
  });
});

it("a switch says its state and is worked by its label", async () => {
  function Toggle() {
    const [on, setOn] = useState(false);
    return <Switch label="Early stop" checked={on} onValue={setOn} />;
  }
  render(<Toggle />);
  const toggle = screen.getByRole("switch", { name: "Early stop" });
  await userEvent.click(screen.getByText("Early stop"));
  expect(toggle).toBeChecked();
});
