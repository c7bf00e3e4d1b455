import { Target } from "lucide-react";

import type { MethodView } from "@/api";
import { Card, RadioCards } from "@/components/ui";
import { methodTitle } from "@/lib/methods";

/** What each method learns from, is good for and costs. */
export function MethodCard({
  methods,
  value,
  onMethod,
}: {
  methods: readonly MethodView[];
  value: string;
  onMethod: (method: string) => void;
}) {
  const chosen = methods.find((one) => one.name === value);
  return (
    <Card
      title="Method"
      icon={Target}
      description="Rewards score what the model writes itself; preferences say which of two answers is better."
    >
      <RadioCards
        label="Method"
        value={value}
        onValue={onMethod}
        className="sm:grid-cols-2 xl:grid-cols-3"
        options={methods.map((method) => ({
          value: method.name,
          title: methodTitle(method.name),
          aside: method.family === "rewards" ? "rewards" : "preferences",
          text: (
            <>
              <span className="block">{method.good_for}</span>
              <span className="mt-1 block">Costs: {method.costs}</span>
            </>
          ),
        }))}
      />
      {chosen && (
        <p className="mt-3 text-xs text-muted">
          {chosen.title}. {chosen.paper}. What you changed stays when you change the method; everything else takes the
          new method’s defaults.
        </p>
      )}
    </Card>
  );
}
