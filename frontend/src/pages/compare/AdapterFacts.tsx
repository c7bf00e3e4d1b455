/** What was on the base when it answered. */

import type { ReactNode } from "react";

import type { AdapterDetails } from "@/api";
import { significant } from "@/lib/format";

export function AdapterFacts({ details }: { details: AdapterDetails }) {
  return (
    <dl className="space-y-1 text-xs">
      {facts(details).map(([label, value]) => (
        <div key={label} className="grid grid-cols-[7.5rem_minmax(0,1fr)] gap-x-2">
          <dt className="text-muted">{label}</dt>
          <dd className="wrap-anywhere">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function facts(details: AdapterDetails): [string, ReactNode][] {
  const template: [string, ReactNode] = ["chat template", details.chat_template_used ? "used" : "not used"];
  if (details.name === null) {
    return [["weights", "the base alone"], ["layers", details.expected_layers], template];
  }
  const known = (value: number | null) => (value === null ? "not known" : significant(value, 4));
  return [
    ["adapter", details.name],
    ["weights", details.type],
    ["rank", known(details.rank)],
    ["alpha", known(details.alpha)],
    ["scale", details.scale === null ? "not known" : `${significant(details.scale, 4)} (alpha / rank)`],
    ["dropout", details.dropout === null ? "not known" : `${details.dropout} (in training only)`],
    ["layers", `${details.num_layers ?? "not known"} of ${details.expected_layers}`],
    ["keys", details.keys === null ? "not known" : details.keys.join(", ")],
    template,
    ["trained on", details.model_recorded ?? "not recorded"],
    ["moves logits by", details.max_logit_change === null ? "not measured" : movement(details.max_logit_change)],
  ];
}

function movement(change: number): string {
  if (change === 0) return "0: it changes nothing";
  return `up to ${significant(change)} on a short English text`;
}
