/** What a method is called, what it learns from, and which page sets it up. */

export type Family = "answers" | "rewards" | "preferences";

const FAMILIES: Readonly<Record<string, Family>> = {
  sft: "answers",
  grpo: "rewards",
  gspo: "rewards",
  dr_grpo: "rewards",
  dpo: "preferences",
  orpo: "preferences",
};

const SHORT: Readonly<Record<string, string>> = {
  sft: "Supervised",
  grpo: "GRPO",
  gspo: "GSPO",
  dr_grpo: "Dr. GRPO",
  dpo: "DPO",
  orpo: "ORPO",
};

/** What a method learns from. One that a newer program has counts as supervised: its loss is shown, and no more. */
export function familyOf(method: string): Family {
  return FAMILIES[method] ?? "answers";
}

/** A method's short name: `Dr. GRPO`. */
export function methodTitle(method: string): string {
  return SHORT[method] ?? method;
}

/** The page on which runs of a method are set up. */
export function setupPath(method: string): "/setup" | "/enhanced" {
  return familyOf(method) === "answers" ? "/setup" : "/enhanced";
}

/** Where the page for a run's method opens with the run's settings. */
export function cloneLink({ id, method }: { id: string; method: string }): string {
  return `${setupPath(method)}?clone=${encodeURIComponent(id)}`;
}

/** What that page is called. */
export function setupName(method: string): string {
  return setupPath(method) === "/setup" ? "Setup" : "Enhanced Setup";
}
