import { Trophy } from "lucide-react";

import { useGetRewardsQuery } from "@/api";
import { Answered, Card, Skeleton } from "@/components/ui";
import { useRunForm, useSetting } from "@/features/form/form";
import { rewardsIn } from "@/features/rewards/draft";
import type { ReadRewards } from "@/features/rewards/draft";
import { RewardBuilder } from "@/features/rewards/RewardBuilder";
import { TryIt } from "@/features/rewards/TryIt";
import { sentence } from "@/lib/format";

interface Props {
  config: Record<string, unknown>;
  problems: ReadRewards["problems"];
  /** What the server refuses of them. */
  refused: readonly string[];
  hindrance: string | null;
}

/** What completions are scored by, and trying it. */
export function RewardsCard({ config, problems, refused, hindrance }: Props) {
  const bound = useSetting("rewards");
  const { set } = useRunForm();
  const known = useGetRewardsQuery();
  const rewards = rewardsIn(bound?.value);
  return (
    <Card
      title="Rewards"
      icon={Trophy}
      description="Each completion is scored by all of them; their weighted sum counts. Weights need not sum to one."
    >
      <Answered query={known} waiting={<Skeleton className="h-28" />}>
        {(data) => (
          <div className="space-y-4">
            <RewardBuilder
              known={data}
              rewards={rewards}
              problems={problems}
              onRewards={(next) => set("rewards", next)}
            />
            {refused.map((message) => (
              <p key={message} className="text-xs text-bad">
                {sentence(message)}
              </p>
            ))}
            <TryIt config={config} hindrance={hindrance} />
          </div>
        )}
      </Answered>
    </Card>
  );
}
