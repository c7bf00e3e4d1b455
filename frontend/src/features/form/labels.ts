/** What settings and presets are called on the page. The help under each comes from the server. */

const LABELS: Record<string, string> = {
  model_path: "Model",
  train_data_path: "Training data",
  val_data_path: "Validation data",
  validation_fraction: "Share held out for validation",
  data_format: "Format of a row",
  text_column: "Text column",
  prompt_column: "Prompt column",
  completion_column: "Answer column",
  messages_column: "Conversation column",
  system_prompt: "System prompt",
  mask_prompt: "Train on the answers only",
  max_seq_length: "Longest row",
  iterations: "Steps",
  epochs: "Epochs",
  batch_size: "Batch size",
  grad_accumulation_steps: "Accumulated batches",
  learning_rate: "Learning rate",
  optimizer: "Optimizer",
  weight_decay: "Weight decay",
  adam_beta1: "Beta 1",
  adam_beta2: "Beta 2",
  adam_eps: "Epsilon",
  adam_bias_correction: "Bias correction",
  max_grad_norm: "Gradient clipping",
  lr_schedule: "Schedule",
  warmup_steps: "Warm-up steps",
  lr_end_fraction: "End of the schedule",
  fine_tune_type: "Method",
  lora_rank: "Rank",
  lora_alpha: "Alpha",
  lora_dropout: "Dropout",
  lora_num_layers: "Layers",
  lora_targets: "Targets",
  lora_keys: "Modules",
  lora_routers: "Expert routers",
  lora_scaling: "Scaling",
  steps_per_report: "Steps between reports",
  steps_per_eval: "Steps between evaluations",
  save_every: "Steps between checkpoints",
  keep_checkpoints: "Checkpoints kept",
  early_stop: "Stop early",
  patience: "Patience",
  min_delta: "Smallest improvement",
  grad_checkpoint: "Gradient checkpointing",
  seed: "Seed",
  adapter_name: "Name of the adapter",
  init_adapter: "Start from an adapter",
  offline: "Stay offline",
};

/** A setting's name on the page. */
export function labelOf(name: string): string {
  return LABELS[name] ?? name.replaceAll("_", " ");
}

export interface PresetText {
  title: string;
  text: string;
}

/** What each target preset adapts, in words. */
export const PRESETS: Readonly<Record<string, PresetText>> = {
  "full-layer": { title: "Full layer", text: "Attention and MLP projections of each block, experts included." },
  "attention-qv": { title: "Attention, Q and V", text: "Query and value projections alone: the smallest adapter." },
  attention: { title: "Attention", text: "All attention projections; the MLP stays as it is." },
  mlp: { title: "MLP", text: "The MLP projections alone; attention stays as it is." },
  "all-linear": { title: "All linear", text: "Every linear module of each block, whatever it is called." },
  custom: { title: "Chosen modules", text: "The modules that you tick below." },
};

/** Settings that have a place of their own in a card; the rest are listed under Advanced. */
export const PLACED: ReadonlySet<string> = new Set([
  "model_path",
  "train_data_path",
  "val_data_path",
  "validation_fraction",
  "mask_prompt",
  "max_seq_length",
  "epochs",
  "iterations",
  "batch_size",
  "grad_accumulation_steps",
  "learning_rate",
  "lr_schedule",
  "warmup_steps",
  "lora_rank",
  "lora_alpha",
  "lora_dropout",
  "lora_num_layers",
  "lora_targets",
  "lora_keys",
  "early_stop",
  "grad_checkpoint",
  "adapter_name",
]);
