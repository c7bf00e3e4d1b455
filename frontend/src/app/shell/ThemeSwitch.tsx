import { Monitor, Moon, Sun } from "lucide-react";

import { Segmented } from "@/components/ui";
import { useThemeChoice } from "@/lib/theme";

const OPTIONS = [
  { value: "light", label: "Light", icon: Sun },
  { value: "system", label: "As the system", icon: Monitor },
  { value: "dark", label: "Dark", icon: Moon },
] as const;

/** Light, dark, or as the system has it. */
export function ThemeSwitch() {
  const [choice, setChoice] = useThemeChoice();
  return <Segmented label="Colour theme" size="sm" iconsOnly value={choice} options={OPTIONS} onValue={setChoice} />;
}
