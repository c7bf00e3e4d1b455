import { Activity } from "lucide-react";

import { EmptyState, PageHeader } from "@/components/ui";

export default function TrainingPage() {
  return (
    <>
      <PageHeader title="Training" />
      <EmptyState icon={Activity} title="Under construction" />
    </>
  );
}
