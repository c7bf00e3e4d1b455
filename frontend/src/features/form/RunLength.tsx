import { Segmented } from "@/components/ui";

import { useRunForm } from "./form";
import { SettingField } from "./SettingField";

type Length = "epochs" | "iterations";

/** By passes over the data, or by steps; the two exclude each other. */
export function RunLength() {
  const { draft, unset, set } = useRunForm();
  const iterations = draft["iterations"];
  const by: Length = iterations !== undefined ? "iterations" : "epochs";
  const choose = (length: Length) => {
    unset(length === "epochs" ? "iterations" : "epochs");
    if (length === "iterations") set("iterations", "100");
  };
  return (
    <div className="col-span-full">
      <Segmented
        size="sm"
        label="Length of the run"
        value={by}
        options={[
          { value: "epochs", label: "By epochs" },
          { value: "iterations", label: "By steps" },
        ]}
        onValue={choose}
      />
    </div>
  );
}

/** The one of the two that is chosen. */
export function RunLengthField({ epochs = "3" }: { /** How many without being told. */ epochs?: string }) {
  const { draft } = useRunForm();
  return draft["iterations"] === undefined ? (
    <SettingField name="epochs" label="Epochs" placeholder={epochs} hint="Passes over the training data." />
  ) : (
    <SettingField name="iterations" hint="Optimizer steps, regardless of how often each row is seen." />
  );
}
