import { render, screen } from "@testing-library/react";
import { expect, it } from "vitest";

import { certificate, exported } from "@/test/exports";

import { barsOf, placeOf } from "./bars";
import { CertificateCard, LossBars, Verdict } from "./CertificateCard";
import { archiveLink, exportPage, stateOf } from "./links";

it("begins the axis at zero where losses are far apart, with the tolerance around the trained one", () => {
  const geometry = barsOf(certificate());
  expect(geometry.low).toBe(0);
  expect(geometry.band?.from).toBeCloseTo(0.28);
  expect(geometry.band?.to).toBeCloseTo(0.72);
  expect(placeOf(2.7, geometry)).toBeLessThan(1);
  expect(placeOf(0, geometry)).toBe(0);
  expect(placeOf(99, geometry)).toBe(1);
});

it("looks closer where losses are nearly equal, so that the tolerance can be seen", () => {
  const near = certificate({ loss: { base: 5.8, trained: 5.7, exported: 5.7 } });
  const geometry = barsOf({ ...near, tolerance: { ...near.tolerance, limit: 0.01 } });
  expect(geometry.low).toBeGreaterThan(5.6);
  const { from, to } = geometry.band ?? { from: 0, to: 0 };
  expect(placeOf(to, geometry) - placeOf(from, geometry)).toBeGreaterThan(0.1);
});

it("has no band where rows decide, and no bar for what could not be read", () => {
  const unread = certificate({ loss: { base: 2.7, trained: 0.5, exported: null } });
  const byRows = { ...unread, tolerance: { ...unread.tolerance, by: "rows" as const } };
  expect(barsOf(byRows).band).toBeNull();
  render(<LossBars certificate={byRows} />);
  expect(screen.getByRole("img")).toHaveAccessibleName(
    "Loss of base 2.7000, trained 0.5000, exported could not be read; compared row by row",
  );
  expect(screen.getByText(/compared one by one/)).toBeInTheDocument();
});

it("puts the picture into words", () => {
  render(<LossBars certificate={certificate()} />);
  expect(screen.getByRole("img")).toHaveAccessibleName(
    "Loss of base 2.7000, trained 0.5000, exported 0.5010; allowed for the export: 0.2800 to 0.7200",
  );
});

it("says first and plainly that an export failed", () => {
  const failed = certificate({ verdict: "failed", sentence: "failed: the exported files have a loss of 2.7" });
  render(<Verdict certificate={failed} />);
  expect(screen.getByText("Failed: these files are not what was trained.")).toBeInTheDocument();
  expect(screen.getByText("The exported files have a loss of 2.7.")).toBeInTheDocument();
  expect(screen.queryByText(/Passed/)).toBeNull();
});

it("says of one that proves nothing neither that it passed nor that it failed", () => {
  const unproven = certificate({ verdict: "unproven", sentence: "unproven: the adapter changes nothing" });
  render(<Verdict certificate={unproven} />);
  expect(screen.getByText(/^Unproven: the adapter changes too little/)).toBeInTheDocument();
  expect(screen.getByText("The adapter changes nothing.")).toBeInTheDocument();
  expect(screen.queryByText(/Passed|Failed|Do not use/)).toBeNull();
  expect(stateOf(exported("x", { certificate: unproven })).label).toBe("Unproven");
});

it("names reader, rows, logits, tokens and answers", () => {
  render(
    <CertificateCard
      certificate={certificate({
        quantisation: "Q4_K_M",
        reader_note: "`pip install` it",
        notes: ["a row was cut"],
        greedy: { answers: 8, equal: 7, first_divergence: 12 },
      })}
    />,
  );
  for (const text of [
    "llama.cpp (xllamacpp 2026.10)",
    "32 rows, 1,024 tokens",
    "differ by at most 0.031 at 64 positions, 0.029 on the base alone; the adapter changes them by 8.2",
    "32 of 32 conversations equal",
    "7 of 8 equal, token for token; the first differs at token 12",
    "Q4_K_M",
    "A row was cut.",
  ]) {
    expect(screen.getByText(text)).toBeInTheDocument();
  }
});

it("calls an export by what may be done with it", () => {
  const entry = { name: "a b", path: "/x", bytes: 1, made: 1, problem: "", certificate: certificate(), usage: [] };
  expect(stateOf(entry).label).toBe("Passed");
  expect(stateOf({ ...entry, certificate: certificate({ verdict: "failed" }) }).label).toBe("Failed");
  expect(stateOf({ ...entry, problem: "gone" }).label).toBe("Cannot be used");
  expect(stateOf({ ...entry, certificate: null }).label).toBe("Cannot be used");
  expect(exportPage("a b")).toBe("/results/exports/a%20b");
  expect(archiveLink("a b")).toBe("/api/exports/a%20b/archive");
});
