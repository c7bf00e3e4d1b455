/** Where the bars of a certificate end, and where its tolerance lies. */

import type { Certificate } from "@/api";

/** An axis that begins at zero would hide differences smaller than this share of the largest loss. */
const ZOOM_BELOW = 0.25;
const ROOM = 0.15;

export interface BarsGeometry {
  /** Ends of the axis, in nats per token. */
  low: number;
  high: number;
  /** The losses that pass, where the mean loss decides; null where rows decide. */
  band: { from: number; to: number } | null;
}

/** The axis for three losses: from zero, or from just below them where they are close together. */
export function barsOf({ loss, tolerance }: Certificate): BarsGeometry {
  const values = [loss.base, loss.trained, ...(loss.exported === null ? [] : [loss.exported])];
  const band =
    tolerance.by === "rows" ? null : { from: loss.trained - tolerance.limit, to: loss.trained + tolerance.limit };
  const ends = [...values, ...(band ? [band.from, band.to] : [])];
  const most = Math.max(...ends);
  const least = Math.min(...ends);
  const spread = most - least;
  const high = most + ROOM * spread || 1;
  const zoomed = spread < ZOOM_BELOW * most;
  return { low: zoomed ? Math.max(0, least - ROOM * spread) : Math.min(0, least), high, band };
}

/** Where a loss lies on the axis, from 0 to 1. */
export function placeOf(value: number, { low, high }: BarsGeometry): number {
  return Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
}
