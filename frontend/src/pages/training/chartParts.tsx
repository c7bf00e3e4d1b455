/** What the large charts of a run share. */

import { useState } from "react";

import type { RunHistory } from "@/api/history";
import { Skeleton } from "@/components/ui";

import { useThrottled } from "./hooks";

/** In place of a chart that has nothing to show yet. */
export function Waiting({ history, text }: { history: RunHistory; text: string }) {
  if (!history.caughtUp) return <Skeleton className="h-40 w-full" />;
  return <p className="flex h-40 items-center justify-center text-center text-muted">{text}</p>;
}

/** Weights of the past: what a slider with even steps could not reach is where they differ. */
const WEIGHTS = [0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999] as const;
const FIRST_WEIGHT = 3;

/** A place of the slider, and the weight that it stands for a moment later. */
export function useSmoothing() {
  const [place, setPlace] = useState(FIRST_WEIGHT);
  return { place, setPlace, weight: WEIGHTS[useThrottled(place, 60)] ?? 0 };
}

/** How strongly the training loss is smoothed: a place in `WEIGHTS`. */
export function SmoothingSlider({ value, onValue }: { value: number; onValue: (value: number) => void }) {
  const weight = WEIGHTS[value] ?? 0;
  const text = weight === 0 ? "off" : String(weight);
  return (
    <label className="flex items-center gap-2 text-xs text-muted">
      Smoothing
      <input
        type="range"
        min={0}
        max={WEIGHTS.length - 1}
        step={1}
        value={value}
        onChange={(event) => onValue(Number(event.target.value))}
        aria-valuetext={text}
        className="w-28 accent-accent"
      />
      <span className="w-10 text-ink">{text}</span>
    </label>
  );
}

export interface ChartsProps {
  run: string;
  history: RunHistory;
  /** Of the history, already slowed down. */
  version: number;
}
