/** Exports as the server describes them, for tests. */

import type { Certificate, ExportEntry, FormFacts, Job } from "@/api";

export function certificate(changes: Partial<Certificate> = {}): Certificate {
  return {
    format: 1,
    form: "gguf",
    quantisation: null,
    verdict: "passed",
    sentence: "passed: the exported files have a loss of 0.5010",
    reader: "llama.cpp (xllamacpp 2026.10)",
    reader_note: "",
    rows: 32,
    tokens: 1024,
    loss: { base: 2.7, trained: 0.5, exported: 0.501 },
    tolerance: { share: 0.1, limit: 0.22, plain_limit: 0.22, difference: 0.001, resolution: 0.0001, by: "loss" },
    noise: { positions: 64, largest: 0.029, loss: 0.0001 },
    logits: { positions: 64, largest: 0.031, loss: 0.001 },
    moved: { positions: 64, largest: 8.2, loss: 2.2 },
    tokens_equal: { conversations: 32, equal: 32, first_difference: null, same_template: true },
    greedy: { answers: 8, equal: 8, first_divergence: null },
    hashes: { base: "b", adapter: "a", data: "d", files: { "till.gguf": "f", "README.md": "r" } },
    versions: {},
    command: "droidft export till --to gguf",
    notes: [],
    ...changes,
  };
}

export function exported(name: string, changes: Partial<ExportEntry> = {}): ExportEntry {
  return {
    name,
    path: `/home/me/.droidft/exports/${name}`,
    bytes: 143_000_000,
    made: 1_790_000_000,
    problem: "",
    certificate: certificate(),
    usage: [{ program: "llama.cpp", language: "sh", code: `llama-server -m ${name}.gguf` }],
    ...changes,
  };
}

export const FORMS: FormFacts[] = [
  { form: "peft", title: "PEFT adapter", what: "The adapter alone", loads_in: "vLLM", types: [], usual: null },
  { form: "merged", title: "Merged model", what: "Base and adapter", loads_in: "mlx-lm", types: [], usual: null },
  {
    form: "gguf",
    title: "GGUF file",
    what: "One file",
    loads_in: "llama.cpp",
    types: ["F16", "Q8_0", "Q4_K_M"],
    usual: "Q8_0",
  },
];

export function exportJob(changes: Partial<Job> = {}): Job {
  return {
    id: "j1",
    kind: "export",
    title: "till as gguf",
    state: "running",
    waiting: false,
    phase: "reading the base model",
    done: 3,
    total: 12,
    started: 1,
    error: null,
    check: null,
    model: null,
    warnings: [],
    trial: null,
    export: null,
    pushed: null,
    ...changes,
  };
}
