import { useMakeExampleMutation } from "@/api";
import { Button, ErrorNote } from "@/components/ui";
import { DataCard as Frame } from "@/features/data/DataCard";
import type { CheckState } from "@/features/data/useDataCheck";
import { fromConfig } from "@/features/form/draft";
import { useRunForm } from "@/features/form/form";
import { SettingField } from "@/features/form/SettingField";
import { useToast } from "@/state/hooks";

/** The demo's data, with the settings that suit it. */
function Example() {
  const { settings, draft, replace } = useRunForm();
  const [make, { isLoading, error }] = useMakeExampleMutation();
  const toast = useToast();
  const use = async () => {
    const { data } = await make();
    if (!data) return;
    const taken = fromConfig(data.values, [...settings.values()]).draft;
    const model = draft["model_path"];
    replace({ ...draft, ...taken, ...(model === undefined ? {} : { model_path: model }) });
    toast({
      tone: "info",
      title: "The example is set up",
      text: "With the settings of `droidft demo`; change what you like.",
    });
  };
  return (
    <div className="space-y-2">
      <div className="flex flex-wrap items-center justify-between gap-3 rounded-md bg-accent-soft p-3">
        <p className="min-w-0 flex-1 basis-64 text-[0.8125rem]">
          <span className="font-medium">No data at hand?</span> Try it with the café orders: what customers say, and
          the line of JSON that the till wants.
        </p>
        <Button size="sm" busy={isLoading} onClick={() => void use()}>
          Use the example
        </Button>
      </div>
      {error && <ErrorNote error={error} />}
    </div>
  );
}

/** Which data, and what training would make of it. */
export function DataCard({ state }: { state: CheckState }) {
  return (
    <Frame
      state={state}
      description={(open) =>
        open
          ? "Conversations, prompts with answers, or plain text. Each row is checked before anything is trained."
          : undefined
      }
      example={<Example />}
      before={
        <SettingField
          name="mask_prompt"
          hint="The question is read but not learned; usual for chats and for prompts with answers."
        />
      }
    />
  );
}
