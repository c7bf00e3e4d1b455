import { CodeBlock, Disclosure } from "@/components/ui";
import { DataCard as Frame } from "@/features/data/DataCard";
import type { CheckState } from "@/features/data/useDataCheck";
import { SettingField } from "@/features/form/SettingField";
import type { Family } from "@/lib/methods";

const WANTED = {
  rewards: {
    text: "Prompts, as text or as a conversation that ends with the user. Other columns, such as the right answer, go to the rewards.",
    example: `{"prompt": "What is 2 + 3?", "answer": "5"}
{"messages": [{"role": "user", "content": "What is 2 + 3?"}], "answer": "5"}`,
  },
  preferences: {
    text: "A prompt with two answers to it: the chosen one and the rejected one, as texts or as conversations.",
    example: `{"prompt": "What is 2 + 3?", "chosen": "5", "rejected": "6"}`,
  },
} as const;

/** Which data, and whether it has what the method needs. */
export function DataCard({ state, family }: { state: CheckState; family: Exclude<Family, "answers"> }) {
  return (
    <Frame
      state={state}
      family={family}
      description={() => WANTED[family].text}
      sample={(open) => (
        <Disclosure title="What a row looks like" open={open}>
          <CodeBlock text={WANTED[family].example} label="rows" wrap />
        </Disclosure>
      )}
    >
      <Disclosure title="Columns and system prompt">
        <div className="grid items-start gap-4 sm:grid-cols-2">
          <SettingField name="prompt_column" placeholder="prompt" />
          <SettingField name="messages_column" placeholder="messages" />
          <SettingField name="system_prompt" className="sm:col-span-2" />
        </div>
      </Disclosure>
    </Frame>
  );
}
