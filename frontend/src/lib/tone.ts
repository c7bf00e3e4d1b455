/** How good or bad something is, which decides its colour. */
export type Tone = "neutral" | "good" | "warn" | "bad" | "info";
