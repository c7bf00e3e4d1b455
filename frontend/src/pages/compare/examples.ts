/** Prompts to begin with: orders as customers speak them, of the kind that the demo teaches. */

export const EXAMPLES = [
  "Could I get two large cappuccinos and two muffins? To have here. It's for Louis.",
  "Keiko would like three large espressos, one large latte and three small americanos, to have here.",
  "Good morning! three large espressos and one small chai for Jonas, to have here.",
  "What is the capital of France?",
] as const;
