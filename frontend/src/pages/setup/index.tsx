import { SlidersHorizontal } from "lucide-react";

import { EmptyState, PageHeader } from "@/components/ui";

export default function SetupPage() {
  return (
    <>
      <PageHeader title="Setup" />
      <EmptyState icon={SlidersHorizontal} title="Under construction" />
    </>
  );
}
